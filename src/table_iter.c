/* SPDX-License-Identifier: MIT */
/*
 * table_iter: going through a table, taking entries in no order, and the check of the invariants.
 *
 * An iteration goes up through the positions: it stands at one up to which all is done, finds the segment that is responsible
 * for it now, walks that one segment's slots to the end, and goes on where its positions end. Segments are only ever divided, but
 * where somebody clears the table: then one may begin before that position, and what it has of there is passed over. So no key is
 * met in two of them. While it walks, entries do not move in the segment, and if another has its place in the directory, it has
 * all that was there at that moment: each key, also one whose value died in the old slots, is looked up in the table as it is
 * now. So an entry that stays is found, one that went is not, none is found twice.
 *
 * No locks but in table_any, table_take_at and table_check, which take one segment's after the other's.
 */
#include "table_impl.h"

#define POSITIONS (UINT64_C(1) << 32)

void table_iter_init(struct table_iter *iter, const struct table *table)
{
	*iter = (struct table_iter){.table = table};
}

/* Whether an entry that was read from a segment which was replaced is in the table, and its value of now: 1, 0 or an error. */
static int renew(const struct table *table, bool want_value, struct table_entry *entry)
{
	if (table_is_self(table)) {
		struct table_key key = entry->key;
		int gone = table_self_find(table, &key, want_value, entry);
		BASE_KEEP(key.data);
		return gone == -WEAKREF_ENOENT ? 0 : gone < 0 ? gone : 1;
	}
	int error = want_value ? table_find(table, &entry->key, &entry->value, &entry->raw) : table_has(table, &entry->key);

	if (error == -WEAKREF_ENOENT || error == -WEAKREF_ESTALE)
		return 0;
	return error < 0 ? error : 1;
}

/* The next entry of the iterator's segment. */
static int next_in_segment(struct table_iter *iter, bool want_value, struct table_entry *entry)
{
	const struct table_segment *seg = iter->segment;

	while (iter->index < seg->n) {
		enum table_state state = table_read(seg, iter->index++, want_value, entry);
		if (state == TABLE_NOTHING || table_position(iter->table, entry->key.part) < iter->position)
			continue;
		/* After the entry was read. Not whether it is retired: a clearing does that late, and in a child perhaps never. */
		bool stands = table_segment_of(iter->table, table_position(iter->table, entry->key.part)) == seg;
		int found = stands ? state == TABLE_LIVE : renew(iter->table, want_value, entry);
		if (found != 0)
			return found;
	}
	return 0;
}

int table_iter_next(struct table_iter *iter, bool want_value, struct table_entry *entry)
{
	for (;;) {
		if (iter->segment == NULL) {
			if (iter->position >= POSITIONS)
				return 0;
			iter->segment = table_segment_of(iter->table, (uint32_t)iter->position);
			iter->index = 0;
		}
		int found = next_in_segment(iter, want_value, entry);
		if (found != 0)
			return found;
		iter->position = table_segment_end(iter->segment);
		iter->segment = NULL;
	}
}

/* ---- any entry ---- */

/* The next slot with a value from the segment's hand on, all round. */
static bool any_in_segment_locked(struct table_segment *seg, struct table_entry *entry)
{
	if (table_live(seg) == 0)
		return false;
	for (uint32_t left = seg->n; left > 0; left--) {
		if (slots_is_value(table_peek(seg, seg->hand)) && table_read(seg, seg->hand, false, entry) == TABLE_LIVE)
			return true;
		seg->hand = seg->hand + 1 == seg->n ? 0 : seg->hand + 1;
	}
	return false;
}

/* The same in the segments of all positions from one to another. *writes grows by how often their keys changed. */
static bool any_between(struct table *table, uint64_t position, uint64_t end, struct table_place *place, struct table_entry *entry,
			uint64_t *writes)
{
	while (position < end) {
		struct table_segment *seg = table_lock_segment(table, (uint32_t)position);
		bool found = any_in_segment_locked(seg, entry);
		if (found) {
			*place = (struct table_place){.segment = seg, .index = seg->hand, .key = entry->key.data};
			place->word = atomic_load_explicit(table_key_at(seg, seg->hand), memory_order_relaxed);
		}
		*writes += atomic_load_explicit(&seg->writes, memory_order_relaxed);
		lock_stripe_drop(seg->lock);
		if (found) {
			atomic_store_explicit(&table->hand, (uint32_t)position, memory_order_relaxed);
			return true;
		}
		position = table_segment_end(seg);
	}
	return false;
}

/* From the hand all round. */
static bool any_in_table(struct table *table, uint32_t hand, struct table_place *place, struct table_entry *entry, uint64_t *writes)
{
	*writes = 0;
	return any_between(table, hand, POSITIONS, place, entry, writes) || any_between(table, 0, hand, place, entry, writes);
}

int table_any(struct table *table, struct table_place *place, struct table_entry *entry)
{
	/* One for all searches: in a table that was cleared it may be amid a segment, which counts twice then, in each of them. */
	uint32_t hand = atomic_load_explicit(&table->hand, memory_order_relaxed), shapes;
	uint64_t first, second;

	*place = (struct table_place){0};
	/* Behind a search one may come while another goes before it. Between two that find the same state, there is none. */
	do {
		shapes = atomic_load_explicit(&table->shapes, memory_order_acquire);
		if (any_in_table(table, hand, place, entry, &first) || any_in_table(table, hand, place, entry, &second))
			return 0;
	} while (first != second || shapes != atomic_load_explicit(&table->shapes, memory_order_acquire));
	return -WEAKREF_ENOENT;
}

/* Whether the entry found there is there still. */
static bool in_place_locked(const struct table_place *place)
{
	const struct table_segment *seg = place->segment;
	uint32_t i = place->index;

	if (table_is_self(seg->table))
		return !seg->retired && (table_peek(seg, i) & ~EPOCH_TAG) == (uintptr_t)place->key;
	return !seg->retired && slots_is_value(table_peek(seg, i)) &&
	       atomic_load_explicit(table_key_at(seg, i), memory_order_relaxed) == place->word &&
	       (seg->keys == NULL || atomic_load_explicit(&seg->keys[i], memory_order_relaxed) == place->key);
}

bool table_take_at(struct table *table, const struct table_place *place, void **value)
{
	struct table_segment *seg = place->segment;

	*value = NULL;
	lock_stripe_take(seg->lock);
	bool taken = in_place_locked(place) && table_remove_locked(seg, place->index, value);
	if (taken && table_is_sparse(seg))
		table_resize(table, seg, false, 0); /* drops the lock; without memory it stays as it is */
	else
		lock_stripe_drop(seg->lock);
	return taken;
}

/* ---- checks ---- */

/* Invariant 4, by the one look-up that there is: from its home a key's slot is reached. */
static void check_reachable_locked(struct table_segment *seg, uint32_t i, uint32_t within)
{
	for (uint32_t j = table_home(seg, within); j != i; j = j + 1 == seg->n ? 0 : j + 1)
		ASSERT(table_peek(seg, j) != SLOTS_EMPTY);
}

static void check_slots_locked(struct table_segment *seg)
{
	uint32_t used = 0, live = 0, dead = 0, lived = table_live(seg);
	size_t bytes = 0;
	struct table_entry entry;

	for (uint32_t i = 0; i < seg->n; i++) {
		if (table_peek(seg, i) == SLOTS_EMPTY)
			continue;
		used++;
		enum table_state state = table_read(seg, i, false, &entry);
		if (state == TABLE_NOTHING)
			continue;
		live += state == TABLE_LIVE;
		dead += state == TABLE_DEAD;
		uint32_t position = table_position(seg->table, entry.key.part);
		ASSERT(position >= seg->base && position < table_segment_end(seg));
		check_reachable_locked(seg, i, table_within(seg->table, (enum table_layout)seg->table->layout, entry.key.hash, position));
		if (seg->table->layout == TABLE_BYTES)
			bytes += table_key_room(entry.key.size);
	}
	ASSERT(used == seg->used && used <= seg->limit && seg->limit < seg->n);
	/* Other threads may collect meanwhile: what was found alive lived at the beginning, and what has died is dead by now. */
	ASSERT(live <= lived);
	ASSERT(live + dead <= lived + atomic_load(&seg->slots->dead));
	if (seg->fill != 0) {
		ASSERT(seg->fill <= table_arena_of(seg)->capacity);
		ASSERT(bytes + seg->garbage + sizeof(struct table_arena) == seg->fill);
	}
	(void)used, (void)live, (void)dead, (void)lived, (void)bytes;
}

static void check_directory_locked(const struct table *table)
{
	struct table_directory *dir = atomic_load_explicit(&table->directory, memory_order_relaxed);
	uint64_t entries = UINT64_C(1) << dir->depth;

	for (uint64_t i = 0; i < entries;) {
		struct table_segment *seg = atomic_load_explicit(&dir->entries[i], memory_order_relaxed);
		uint64_t end = table_segment_end(seg) >> (32 - dir->depth);
		ASSERT(seg->table == table && !seg->retired && seg->depth <= dir->depth);
		ASSERT((uint64_t)seg->base >> (32 - dir->depth) == i);
		for (; i < end; i++)
			ASSERT(atomic_load_explicit(&dir->entries[i], memory_order_relaxed) == seg);
	}
}

void table_check(struct table *table)
{
	lock_directory_take(table->lock);
	check_directory_locked(table);
	lock_directory_drop(table->lock);
	for (uint64_t position = 0; position < POSITIONS;) {
		struct table_segment *seg = table_lock_segment(table, (uint32_t)position);
		check_slots_locked(seg);
		lock_stripe_drop(seg->lock);
		position = table_segment_end(seg);
	}
}

/* One segment of a table is its first one, but for what is not yet, or no more, in a directory. */
void table_check_owner(struct slots *slots, void *owner)
{
	struct table_segment *seg = owner;
	struct table *table = seg->table;

	ASSERT(seg->slots == slots && seg->n == slots->n && seg->stride == slots->stride);
	if (seg->base != 0)
		return;
	struct table_directory *dir = atomic_load_explicit(&table->directory, memory_order_acquire);
	if (dir != NULL && atomic_load_explicit(&dir->entries[0], memory_order_acquire) == seg)
		table_check(table);
}
