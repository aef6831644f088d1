/* SPDX-License-Identifier: MIT */
/*
 * table_quick: the usual look-up, written for the processor: strings, bytes, integers, and keys that are the weak word by
 * identity. A look-up in a large table waits for memory up to four times: for the caller's key, the group of slots, the key in the arena
 * and the value. A program that looks up one key after another need not wait for each in turn, as long as the instructions of the next
 * look-ups fit in the processor's window behind those that wait, and no branch that hangs on the awaited data was guessed wrongly. So
 * here are few instructions, above all few that have to wait for the data, each of which takes a place among those that wait: a group of slots
 * is compared at once, in vector registers, the slot that may have the key is computed, not found, and nothing is called, so that who calls
 * needs no frame. A string's end, its hash and its comparison have no branch for its length.
 *
 * Three answers: this value; NULL, the key is not there; or, by false and some value or none, "look for it properly". A collection in progress,
 * an entry that changes meanwhile or died, and a hash that another key has too are such cases. The order of loads is that of table.c's readers
 * (table.h). That a key is not there needs no more than that: an empty slot on its way, and none before that could have it.
 *
 * Pointers are taken from words without a tag, which need less than others (epoch.h); a value that has one costs some instructions more.
 *
 * Deliberately not here: a bound for the search. It ends at an empty slot, which every segment has (invariant 3).
 */
#ifndef TABLE_QUICK_H
#define TABLE_QUICK_H

#include "bytes.h"
#include "table_group.h"

#define TABLE_QUICK static inline __attribute__((always_inline))

/* The first slot on the way from a group that table_group_hint gives for what is wanted; false: none. Stride and compare are constants. The
 * slot is told by the address of its block, shifted so far that the block's first slot is this one: so the distance from one to the other is
 * part of each load's address, and needs no instruction. */
TABLE_QUICK bool table_quick_slot(const struct table_segment *seg, uint64_t group, unsigned stride, enum table_compare compare,
				  uint64_t wanted, const struct slots **slot)
{
	const unsigned size = stride * (unsigned)sizeof(uintptr_t);
	uintptr_t at = (uintptr_t)seg->slots + group * (TABLE_GROUP * size);
	unsigned hits;

	for (;;) {
		BASE_PIN(at);
		hits = table_group_hint(((const struct slots *)at)->words, stride, compare, wanted);
		if (likely(hits != 0))
			break;
		/* Loaded anew: what is needed here alone would be kept in registers from the start on. The hint is cheaper, where it goes on. */
		BASE_PIN(at);
		if (table_group_hint(((const struct slots *)at)->words, stride, TABLE_COMPARE_VALUE, SLOTS_EMPTY) != 0 &&
		    likely(table_group_empty(((const struct slots *)at)->words, stride) != 0))
			return false;
		at += TABLE_GROUP * size;
		if (at == (uintptr_t)seg->slots + (size_t)seg->n * size)
			at = (uintptr_t)seg->slots;
	}
	at += (unsigned)__builtin_ctz(hits) * size;
	BASE_PIN(at);
	*slot = (const struct slots *)at;
	return true;
}

/* Loads the value of a slot whose word has at most the tag SLOTS_INNER, its sign; false where there is none, or none to be trusted. */
TABLE_QUICK bool table_quick_load(const _Atomic(uintptr_t) *word, void **value)
{
	uintptr_t raw;
	void *p = (void *)atomic_load_explicit(word, memory_order_acquire);

	BASE_PIN(p);
	if (likely((intptr_t)p > (intptr_t)SLOTS_VACANT)) {
		*value = p;
		return likely(epoch_is_even());
	}
	bool whole = (intptr_t)p < 0 && epoch_try(word, &raw, &p);
	*value = p;
	return whole && slots_is_value(raw);
}

/* BYTES: a slot whose key has a hash, and the value that it had. */
struct table_quick {
	const struct slots *slot; /* NULL: none has the hash */
	uint64_t word;
	void *value;
	const struct table_arena *arena;
	const unsigned char *key; /* length, bytes */
};

/* The first one with this hash; false where there is none, or none to be trusted. */
TABLE_QUICK bool table_quick_hash(const struct table *table, uint32_t hash, struct table_quick *out)
{
	uint32_t position = table_position(table, hash);
	const struct table_segment *seg = table_segment_of(table, position);

	if (unlikely(!table_quick_slot(seg, table_home_group(seg, position), TABLE_STRIDE, TABLE_COMPARE_HASH, hash, &out->slot))) {
		out->slot = NULL;
		return false;
	}
	out->word = atomic_load_explicit(&out->slot->words[0], memory_order_acquire);
	if (unlikely(!table_quick_load(&out->slot->words[TABLE_VALUE], &out->value)))
		return false;
	/* With a value there is an arena. An erased slot's offset, 0, leads to what is no key. */
	out->arena = table_arena_of(seg);
	out->key = (const unsigned char *)out->arena + (uint32_t)out->word;
	return true;
}

/* The answer where table_quick_hash gave none. */
TABLE_QUICK bool table_quick_none(const struct table_quick *at, void **value)
{
	*value = NULL;
	return at->slot == NULL;
}

/* What a look-up of this part and hash will find first is fetched meanwhile. */
TABLE_QUICK void table_quick_expect_slot(const struct table *table, uint32_t part, uint32_t hash)
{
	uint32_t position = table_position(table, part);
	const struct table_segment *seg = table_segment_of(table, position);
	uint32_t within = table_within(table, (enum table_layout)table->layout, hash, position);

	__builtin_prefetch(table_value_at(seg, table_home(seg, within)));
}

/* And, after that, the key of bytes that it will be compared with. */
TABLE_QUICK void table_quick_expect_key(const struct table *table, uint32_t hash)
{
	uint32_t position = table_position(table, hash);
	const struct table_segment *seg = table_segment_of(table, position);
	const struct slots *slot;

	/* Where there is a key, there is an arena. */
	if (likely(table_quick_slot(seg, table_home_group(seg, position), TABLE_STRIDE, TABLE_COMPARE_HASH, hash, &slot)))
		__builtin_prefetch((const char *)table_arena_of(seg) + (uint32_t)atomic_load_explicit(&slot->words[0], memory_order_relaxed));
}

/* Its value, where the slot has the same key still: nothing else has this key word. */
TABLE_QUICK bool table_quick_value(const struct table_quick *at, void **value)
{
	BASE_KEEP(at->arena); /* where interior pointers do not count, the key alone would not keep it */
	*value = at->value;
	return likely(base_is(&at->slot->words[0], at->word));
}

/* A key of bytes, fewer than TABLE_QUICK_MAX, with its hash. */
#define TABLE_QUICK_MAX 255
TABLE_QUICK bool table_quick_bytes(const struct table *table, uint32_t hash, const void *data, size_t size, void **value)
{
	struct table_quick at;

	if (unlikely(!table_quick_hash(table, hash, &at)))
		return table_quick_none(&at, value);
	return likely(*at.key == size && bytes_equal(at.key + 1, data, size)) && table_quick_value(&at, value);
}

/* A string, of fewer than BYTES_SHORT bytes. */
TABLE_QUICK bool table_quick_string(const struct table *table, const char *string, void **value)
{
#if BYTES_SSE2
	struct bytes_vector wanted;
	struct table_quick at;

	if (unlikely(!bytes_vector_of_string(string, &wanted)))
		return false;
	if (unlikely(!table_quick_hash(table, table_hash_short(bytes_vector_words(&wanted)), &at)))
		return table_quick_none(&at, value);
	return likely(bytes_vector_equal(&wanted, at.key + 1)) && table_quick_value(&at, value);
#else
	size_t size = strlen(string);

	return size < BYTES_SHORT &&
	       table_quick_bytes(table, table_hash_short(bytes_words((const unsigned char *)string, size)), string, size, value);
#endif
}

/* An integer. */
TABLE_QUICK bool table_quick_integer(const struct table *table, uint64_t word, void **value)
{
	uint32_t hash = table_fold(table_number_word(word)), position = table_position(table, table_integer_part(word));
	const struct table_segment *seg = table_segment_of(table, position);
	uint64_t takeovers = atomic_load_explicit(&seg->takeovers, memory_order_acquire);
	const struct slots *slot;

	if (unlikely(!table_quick_slot(seg, table_run_group(table, seg, hash, position), TABLE_STRIDE, TABLE_COMPARE_WORD, word, &slot))) {
		*value = NULL;
		return true;
	}
	return likely(atomic_load_explicit(&slot->words[0], memory_order_acquire) == word &&
		      table_quick_load(&slot->words[TABLE_VALUE], value) && base_is(&seg->takeovers, takeovers));
}

/* What an address has to be for table_group_hint to tell slots that have it from those that have none. */
static inline bool table_quick_can_be(const void *p)
{
	return slots_is_value((uint32_t)(uintptr_t)p);
}

/* SELF, by identity: whether there is an element, which the caller holds: 1, 0, or -1 for "look for it properly". A slot with its address
 * has it. */
TABLE_QUICK int table_quick_member(const struct table *table, const void *p)
{
	uint32_t hash = table_fold(table_number_word((uintptr_t)p)), position = table_position(table, table_pointer_part(p));
	const struct table_segment *seg = table_segment_of(table, position);
	const struct slots *slot;

	if (unlikely(!table_quick_can_be(p)))
		return -1;
	if (unlikely(!table_quick_slot(seg, table_run_group(table, seg, hash, position), TABLE_STRIDE, TABLE_COMPARE_VALUE, (uintptr_t)p, &slot)))
		return 0;
	return likely(epoch_is_same(atomic_load_explicit(&slot->words[TABLE_VALUE], memory_order_acquire), p)) ? 1 : -1;
}

/*
 * BARE: a key that the caller holds, and its payload. The slot had this key, as far as half of its word tells, when it was found, and has it
 * after the payload was loaded: without a take-over in between it had it all along. The payload has no tag, and the key is held, so
 * neither can be lost between two instructions. Where the key is not there, *payload is `absent`.
 */
TABLE_QUICK bool table_quick_bare(const struct table *table, const void *p, void *absent, void **payload)
{
	uint32_t hash = table_fold(table_number_word((uintptr_t)p)), position = table_position(table, table_pointer_part(p));
	const struct table_segment *seg = table_segment_of(table, position);
	/* A number that it does not have where the payloads are forgotten. */
	uint64_t takeovers = atomic_load_explicit(&seg->takeovers, memory_order_acquire) & ~TABLE_FORGOTTEN;
	const struct slots *slot;

	if (unlikely(!table_quick_can_be(p)))
		return false;
	if (unlikely(!table_quick_slot(seg, table_run_group(table, seg, hash, position), TABLE_STRIDE, TABLE_COMPARE_VALUE, (uintptr_t)p, &slot))) {
		*payload = absent;
		return true;
	}
	void *loaded = (void *)atomic_load_explicit(&slot->words[TABLE_BARE_PAYLOAD], memory_order_acquire);
	BASE_PIN(loaded);
	*payload = loaded;
	return likely(epoch_is_same(atomic_load_explicit(&slot->words[TABLE_VALUE], memory_order_acquire), p) && epoch_is_even() &&
		      base_is(&seg->takeovers, takeovers));
}

#endif
