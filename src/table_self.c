/* SPDX-License-Identifier: MIT */
/*
 * table_self: the layouts in which the key is the weak word (SELF), with a payload beside it (PAIR, BARE). What belongs to these
 * alone: how a key is matched, and how a payload is read and replaced. The rest is shared; table.h tells states, invariants
 * and locks.
 *
 * Matching by identity compares words: who looks for a key holds it, so a slot with its address has it. Matching by the
 * container's function loads the key through epoch_load first: what the function gets is alive, and stays so while it is in
 * `have`.
 *
 * Deliberately not here: what a tag means, and what becomes of a payload in a collection.
 */
#include "table_group.h"

static bool same_hash(uint64_t word, const struct table_key *key)
{
	return ((word ^ key->word) & ~TABLE_TAGS) == 0;
}

int table_self_match(const struct table *table, const struct table_segment *seg, uint32_t i, const struct table_key *key, void **have,
		     uintptr_t *raw)
{
	if (table->layout != TABLE_BARE && !same_hash(atomic_load_explicit(table_key_at(seg, i), memory_order_acquire), key))
		return 0;
	if (table->equal == NULL) {
		*have = (void *)(uintptr_t)key->data;
		return (*raw & ~EPOCH_TAG) == (uintptr_t)key->data;
	}
	void *p = epoch_load(table_value_at(seg, i), raw);
	if (!slots_is_value(*raw))
		return 0;
	*have = p;
	int same = p == key->data ? 1 : table->equal(p, key->data, table->user);
	BASE_KEEP(p);
	return same;
}

/* The payload that belongs to the key which slot i had, and which is held; false where it has it no more. */
static bool payload_of_key(const struct table_segment *seg, uint32_t i, uintptr_t raw, void **payload)
{
	uintptr_t loaded;
	void *key;

	for (;;) {
		uint64_t takeovers = atomic_load_explicit(&seg->takeovers, memory_order_acquire);
		if (slots_load(seg->slots, i, &key, &loaded) != raw)
			return false;
		*payload = (void *)loaded;
		uint64_t now = atomic_load_explicit(&seg->takeovers, memory_order_acquire);
		if (unlikely((now & TABLE_FORGOTTEN) != 0))
			return false;
		if (likely(now == takeovers))
			return true;
	}
}

bool table_self_payload(const struct table_spot *at, void **payload)
{
	uintptr_t raw = table_peek(at->seg, at->i);

	return epoch_is_same(raw, at->have) && payload_of_key(at->seg, at->i, raw, payload);
}

int table_self_find(const struct table *table, const struct table_key *key, bool want_payload, struct table_entry *entry)
{
	const uint32_t position = table_position(table, key->part);
	const uint32_t within = table_within(table, (enum table_layout)table->layout, key->hash, position);
	const struct table_segment *seg;
	uint32_t at, left;
	uintptr_t raw;

again:
	seg = table_segment_of(table, position);
	at = table_home(seg, within);
	for (left = seg->n; left > 0; left -= TABLE_GROUP, at = table_group_next(seg, at)) {
		struct table_group group = table_group_of_key(seg, at, key, (enum table_layout)table->layout);
		while (group.hits != 0) {
			void *have, *payload = NULL;
			uint32_t i = table_group_take(&group.hits, at);
			if (!slots_is_value(raw = table_peek(seg, i)))
				continue;
			int same = table_self_match(table, seg, i, key, &have, &raw);
			if (same == 0)
				continue;
			if (unlikely(same < 0))
				return same;
			if (want_payload && table_is_pair(table) && unlikely(!payload_of_key(seg, i, raw, &payload)))
				goto again;
			*entry = (struct table_entry){
				.key = {.data = have,
					.word = key->word & ~TABLE_TAGS,
					.hash = key->hash,
					.part = key->part,
					.self = raw & ~SLOTS_PAYLOAD_TAGS},
				.value = table_is_pair(table) ? payload : have,
				.raw = raw & ~SLOTS_PAYLOAD_TAGS};
			BASE_KEEP(have);
			BASE_KEEP(payload);
			return 0;
		}
		if (group.empty != 0)
			return -WEAKREF_ENOENT;
	}
	return -WEAKREF_ENOENT;
}

int table_get_key(const struct table *table, const struct table_key *key, void **have)
{
	struct table_entry entry;
	int error = table_self_find(table, key, false, &entry);

	*have = error == 0 ? (void *)(uintptr_t)entry.key.data : NULL;
	return error;
}

enum table_state table_self_read(const struct table_segment *seg, uint32_t i, bool want_payload, struct table_entry *entry)
{
	const struct table *table = seg->table;
	bool pair = table_is_pair(table);
	uint64_t takeovers, word;
	uintptr_t raw, payload = 0;
	void *key;

	do {
		takeovers = atomic_load_explicit(&seg->takeovers, memory_order_acquire);
		if (!slots_is_value(table_peek(seg, i)))
			return TABLE_NOTHING;
		if (pair && want_payload)
			raw = slots_load(seg->slots, i, &key, &payload);
		else
			key = epoch_load(table_value_at(seg, i), &raw);
		if (!slots_is_value(raw))
			return TABLE_NOTHING;
		word = table->layout == TABLE_BARE ? table_number_word((uintptr_t)key)
						   : atomic_load_explicit(table_key_at(seg, i), memory_order_acquire);
	} while (table_peek(seg, i) != raw || atomic_load_explicit(&seg->takeovers, memory_order_relaxed) != takeovers);
	word &= ~TABLE_TAGS;
	raw &= ~SLOTS_PAYLOAD_TAGS;
	uint32_t hash = table_fold(word), part = table_slot_part(table, (enum table_layout)table->layout, word, key);
	*entry = (struct table_entry){.key = {.data = key, .word = word, .hash = hash, .part = part, .self = raw},
				      .value = pair ? (void *)payload : key,
				      .raw = raw};
	BASE_KEEP(key);
	BASE_KEEP(payload);
	return TABLE_LIVE;
}

/* ---- payloads, under the lock ---- */

bool table_self_payload_locked(const struct table_segment *seg, uint32_t i, void **payload)
{
	uintptr_t loaded;
	void *key;

	/* Where both are weak, the payload may have died just now, and the entry with it. */
	bool there = slots_is_value(slots_load(seg->slots, i, &key, &loaded));
	*payload = there ? (void *)loaded : NULL;
	return there;
}

bool table_self_replace_locked(const struct table_spot *at, const struct table_key *key, uintptr_t payload)
{
	void *old;

	if (!table_self_payload_locked(at->seg, at->i, &old))
		return false;
	/* With both sides held the entry stays while it is written to. */
	slots_payload_set(at->seg->slots, at->i, payload, (enum slots_payload)(key->word & TABLE_TAGS));
	BASE_KEEP(old);
	return true;
}

void table_self_forget_locked(struct table_segment *seg)
{
	const bool bare = seg->table->layout == TABLE_BARE;
	const uintptr_t kinds = bare ? SLOTS_PAYLOAD_TAGS : SLOTS_PAYLOAD_MASK;
	uint64_t takeovers = atomic_load_explicit(&seg->takeovers, memory_order_relaxed);

	if (!table_is_pair(seg->table) || (takeovers & TABLE_FORGOTTEN) != 0)
		return;
	atomic_store_explicit(&seg->takeovers, takeovers | TABLE_FORGOTTEN, memory_order_release);
	/* After the word of it: who loads a payload that is nobody's by now, sees the word. */
	for (uint32_t i = 0; i < seg->n; i++) {
		_Atomic(uintptr_t) *word = bare ? table_value_at(seg, i) : table_key_at(seg, i);
		if ((atomic_load_explicit(word, memory_order_relaxed) & kinds) != 0)
			atomic_fetch_and_explicit(word, ~kinds, memory_order_release);
		atomic_store_explicit(table_payload_at(seg, i), 0, memory_order_release);
	}
}
