/* SPDX-License-Identifier: MIT */
/*
 * table_write: how an entry gets into a slot, and the usual write in line, as table_quick.h has the usual look-up: of a key that
 * is not there yet, compared without a function of the container's, into the empty slot that ends its way. What waits for memory
 * is the slot alone, which whoever writes asks for as soon as he knows the hash (table_expect): until it comes there should be
 * little to do.
 *
 * Whatever is unusual, with the lock that was taken, is table_put_locked's: a key that is there, or only seems to be; a slot that
 * may be used again; no room.
 *
 * Locks: the table's stripe. Deliberately not here: where functions compare keys, which run without it.
 */
#ifndef TABLE_WRITE_H
#define TABLE_WRITE_H

#include "bytes.h"
#include "table_group.h"

/* Others only read it: no exchange on the bus. */
static inline void table_count_locked(_Atomic uint64_t *count, unsigned step)
{
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + step, memory_order_release);
}

/* Appends a key; there is room. Its offset. */
static inline __attribute__((always_inline)) uint32_t table_append_locked(struct table_segment *seg, const void *data, size_t size)
{
	struct table_arena *arena = table_arena_of(seg);
	uint32_t offset = seg->fill, wide = (uint32_t)size;
	unsigned char *p = (unsigned char *)arena + offset;

	if (likely(size < 255)) {
		*p++ = (unsigned char)size;
	} else {
		*p++ = 255;
		memcpy(p, &wide, sizeof wide);
		p += sizeof wide;
	}
	bytes_copy(p, data, size);
	p[size] = 0;
	seg->fill = offset + (uint32_t)table_key_room(size);
	ASSERT(seg->fill <= arena->capacity);
	return offset;
}

static inline bool table_has_room_for(const struct table_segment *seg, size_t room)
{
	const struct table_arena *arena = table_arena_of(seg);

	return arena != NULL && room <= arena->capacity - seg->fill;
}

/* Puts a key and its value into a slot that is empty (fresh), or vacant and erased; there is room for the key. */
static inline __attribute__((always_inline)) void table_place_locked(struct table_segment *seg, uint32_t i, bool fresh,
								     const struct table_key *key, uintptr_t raw,
								     enum table_layout layout)
{
	const unsigned stride = layout == TABLE_PAIR ? TABLE_STRIDE_PAIR : TABLE_STRIDE;
	struct slots *slots = seg->slots;
	_Atomic(uintptr_t) *slot = &slots->words[(size_t)i * stride];
	uint64_t word = key->word;

	if (layout == TABLE_BARE)
		word = raw;
	if (layout == TABLE_BYTES)
		word = (uint64_t)key->hash << 32 | table_append_locked(seg, key->data, key->size);
	if ((layout == TABLE_WORD || layout == TABLE_HASHED) && seg->keys != NULL)
		atomic_store_explicit(&seg->keys[i], (void *)(uintptr_t)key->data, memory_order_release);
	atomic_store_explicit(slot, word, memory_order_release);
	if (layout == TABLE_PAIR)
		atomic_store_explicit(slot + TABLE_PAYLOAD, raw, memory_order_release);
	if (layout >= TABLE_SELF)
		raw = layout == TABLE_BARE ? key->self | (key->word & TABLE_TAGS) << SLOTS_PAYLOAD_SHIFT : key->self;
	if (fresh)
		seg->used++;
	else
		table_count_locked(&seg->takeovers, 2);
	base_add(&slots->live, 1);
	atomic_store_explicit(slot + TABLE_VALUE, raw, memory_order_release);
	/* Last: a search without the lock that has this count from before it began has seen the value too. Where no function
	 * compares keys, none is made. */
	if (layout == TABLE_HASHED || layout == TABLE_SELF || layout == TABLE_PAIR)
		table_count_locked(&seg->writes, 1);
}

/* After a write: some housekeeping in proportion, where there is any to do. Called with the lock, returns without. */
void table_tidy_slow(struct table *table, struct table_segment *seg);
static inline void table_tidy(struct table *table, struct table_segment *seg)
{
	if (likely(atomic_load_explicit(&seg->slots->dead, memory_order_relaxed) == 0 && !table_is_sparse(seg)))
		lock_stripe_drop(table->lock);
	else
		table_tidy_slow(table, seg);
}

/* table_put where no function compares keys, from the lock on, which it drops. */
int table_put_locked(struct table *table, const struct table_key *key, uintptr_t raw, enum table_put_mode mode, void **now);

/* The usual write: true, and the lock is dropped; or false, with the lock, and nothing was done. */
static inline __attribute__((always_inline)) bool table_add_locked(struct table *table, const struct table_key *key, uintptr_t raw,
								   enum table_layout layout)
{
	struct table_segment *seg = table_segment_of(table, key->hash);
	uint32_t at = table_home(seg, key->hash);
	struct table_group group;

	for (;; at = table_group_next(seg, at)) {
		group = table_group_of_key(seg, at, key, layout);
		if (unlikely((group.hits | group.vacant) != 0))
			return false;
		if (likely(group.empty != 0))
			break;
	}
	if (unlikely(seg->used >= seg->limit || (layout == TABLE_BYTES && !table_has_room_for(seg, table_key_room(key->size)))))
		return false;
	table_place_locked(seg, at + (uint32_t)__builtin_ctz(group.empty), true, key, raw, layout);
	table_tidy(table, seg);
	return true;
}

#endif
