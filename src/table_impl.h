/* SPDX-License-Identifier: MIT */
/*
 * table_impl: what the files of the table share: the shape of its blocks, and how a slot is found and changed. See table.h.
 *
 *     table.c         keys, look-up, write, take
 *     table_quick.h   the usual look-up, in as few instructions as can be
 *     table_self.c    the same where the key is the weak word
 *     table_resize.c  making, rebuilding, splitting, purging segments
 *     table_group.h   some slots at one glance
 *     table_iter.c    iteration, taking any entry, checks
 */
#ifndef TABLE_IMPL_H
#define TABLE_IMPL_H

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "bytes.h"
#include "table.h"

/* Slots that are looked at together (table_group.h); a segment has a multiple of it. */
#define TABLE_GROUP 4

/* From any place in an arena that a key has, so many bytes can be read. */
#define TABLE_ARENA_SLACK BYTES_SHORT

/* Keys of the BYTES layout, from `bytes` on: a length (a byte, or 255 and four), the bytes, a NUL. Offsets count from the block's
 * start, so no key's is 0. What is below the segment's fill never changes; a full arena is replaced by a copy. */
struct table_arena {
	unsigned char none[TABLE_ARENA_SLACK + 4]; /* 255: what stands at offset 0 has the length of no short key, and is no short string */
	uint32_t capacity; /* where keys end: TABLE_ARENA_SLACK before the block does */
	unsigned char bytes[];
};

struct table_segment {
	/* What a look-up reads: a line of the cache, since a block of this size begins with one. */
	struct slots *slots;                 /* never changed, like all without a word of it */
	_Atomic(struct table_arena *) arena; /* NULL as long as there is no key; read without the lock */
	_Atomic uint64_t takeovers;          /* twice how many vacant slots got another key, and TABLE_FORGOTTEN; read without the lock */
	_Atomic(void *) *keys;               /* n pointers with strong_keys, else NULL */
	uint64_t groups;
	uint8_t depth; /* how many bits of the position its keys share */
	uint8_t known; /* how many of what table_within tells: as many, or none where keys go by runs */
	uint8_t stride;
	bool retired;  /* under the lock, the segment's */
	uint32_t base; /* those bits */
	uint32_t n;    /* slots */
	struct table *table;
	uint32_t limit;
	uint32_t thin; /* with fewer entries it is sparse */
	/* Read without the lock. */
	_Atomic uint64_t writes; /* that keys came or went, counted after each: what a search without the lock is checked by */
	/* Under the lock, the segment's. */
	uint32_t used;
	uint32_t fill;    /* of the arena */
	uint32_t garbage; /* bytes of erased keys in it */
	uint32_t hand;    /* where sweeping and table_any go on */
	struct lock_word *lock;
	uint64_t unused[2]; /* for the block's size */
};

_Static_assert(offsetof(struct table_segment, table) <= 64 && sizeof(struct table_segment) < 128 && sizeof(struct table_segment) >= 112,
	       "libgc's block for a segment has 128 bytes, and begins with a line");

/* In takeovers, from when on payloads are not looked after any more: retired, replaced. */
#define TABLE_FORGOTTEN UINT64_C(1)

struct table_directory {
	uint32_t depth;
	uint32_t shift; /* from a position to its entry */
	_Atomic(struct table_segment *) entries[];
};

#define TABLE_DEPTH_MAX 24

/* How many bits the numbers of a run do not have in common: addresses of 8 KiB of the heap; integers. */
#define TABLE_RUN_POINTERS 13
#define TABLE_RUN_INTEGERS 8

/* ---- hashes ---- */

static inline uint32_t table_fold(uint64_t hash)
{
	return (uint32_t)(hash >> 32);
}

/* What table_hash_bytes gives for fewer than BYTES_SHORT bytes. */
static inline uint32_t table_hash_short(struct bytes_words words)
{
	return table_fold(XXH3_64bits(&words, sizeof words));
}

/* Where a key stands among a table's positions, in an order of the table's own (table.h). */
static inline uint32_t table_position(const struct table *table, uint32_t part)
{
	return part * table->scatter;
}

/* Whether the weak word's address is all of the key. layout, here and below, is the table's: a constant where that matters. */
static inline bool table_is_identity(const struct table *table, enum table_layout layout)
{
	return layout == TABLE_BARE || (layout == TABLE_SELF && table->equal == NULL);
}

/* Whether keys are numbers that go by their runs. */
static inline bool table_has_runs(const struct table *table, enum table_layout layout)
{
	return layout == TABLE_WORD || table_is_identity(table, layout);
}

/* And where among those of its segment: the keys of a run at equal distances, the table's own, each run beginning elsewhere. The position goes
 * by its lower half first: the upper bits are the same in a segment, and would leave all runs in one place whose hashes are nearly the same, as
 * those of numbers are that go in steps of a large Fibonacci number. */
static inline uint32_t table_within_run(const struct table *table, uint32_t hash, uint32_t position)
{
	return hash * table->spread + (position << 16 | position >> 16);
}

static inline uint32_t table_within(const struct table *table, enum table_layout layout, uint32_t hash, uint32_t position)
{
	return table_has_runs(table, layout) ? table_within_run(table, hash, position) : position;
}

/* Where a search begins: the first slot of a group, which is the fraction that `within` makes without those of its bits that are the same in
 * the whole segment, since the directory went by them. */
static inline uint64_t table_home_group(const struct table_segment *seg, uint32_t within)
{
	return (uint32_t)(within << seg->known) * seg->groups >> 32;
}

static inline uint32_t table_home(const struct table_segment *seg, uint32_t within)
{
	return (uint32_t)table_home_group(seg, within) * TABLE_GROUP;
}

/* The same group where keys go by runs, and none of the bits is. */
static inline uint64_t table_run_group(const struct table *table, const struct table_segment *seg, uint32_t hash, uint32_t position)
{
	return table_within_run(table, hash, position) * seg->groups >> 32;
}

static inline struct table_segment *table_segment_of(const struct table *table, uint32_t position)
{
	struct table_directory *dir = atomic_load_explicit(&table->directory, memory_order_acquire);

	uint64_t i = (uint64_t)position >> dir->shift;

	BASE_PIN(i); /* or else compilers add 1 to it, for what stands before the entries, in an instruction of its own */
	return atomic_load_explicit(&dir->entries[i], memory_order_acquire);
}

/* Takes the lock of the segment where a position is; there it stays until the lock is dropped. */
static inline struct table_segment *table_lock_segment(const struct table *table, uint32_t position)
{
	for (;;) {
		struct table_segment *seg = table_segment_of(table, position);
		lock_stripe_take(seg->lock);
		if (likely(!seg->retired))
			return seg;
		lock_stripe_drop(seg->lock);
	}
}

/* The position past a segment's keys. */
static inline uint64_t table_segment_end(const struct table_segment *seg)
{
	return (uint64_t)seg->base + (UINT64_C(1) << (32 - seg->depth));
}

/* The hash of a key word. */
static inline uint32_t table_word_hash(const struct table *table, uint64_t word)
{
	return table_fold(table->layout == TABLE_WORD ? table_number_word(word) : word);
}

/* Which part of the table a number is in: that of its run, so that what was made in a row is not strewn about. Both halves of the product:
 * either of them alone, times the table's odd number, would for some such numbers have all runs in a few places. Of integers the next quarter
 * as well: some, such as the words of doubles, have nothing in their lower half, and then the product's is 0. */
static inline uint32_t table_pointer_part(const void *p)
{
	uint64_t word = table_number_word((uintptr_t)p >> TABLE_RUN_POINTERS);

	return (uint32_t)word ^ table_fold(word);
}

static inline uint32_t table_integer_part(uint64_t integer)
{
	uint64_t run = integer >> TABLE_RUN_INTEGERS, word = table_number_word(run);

	return (uint32_t)word ^ table_fold(word) ^ (uint32_t)base_multiply_high(run, TABLE_RATIO);
}

/* The part of the key that a slot has: with this key word, and this in its weak word. */
static inline uint32_t table_slot_part(const struct table *table, enum table_layout layout, uint64_t word, const void *weak)
{
	if (table_is_identity(table, layout))
		return table_pointer_part(weak);
	if (layout == TABLE_WORD)
		return table->strong_keys ? table_pointer_part((const void *)(uintptr_t)word) : table_integer_part(word);
	return table_fold(word);
}

/* ---- slots ---- */

static inline bool table_is_self(const struct table *table)
{
	return table->layout >= TABLE_SELF;
}

/* Whether there are payloads. */
static inline bool table_is_pair(const struct table *table)
{
	return table->layout >= TABLE_PAIR;
}

static inline unsigned table_stride(const struct table *table)
{
	return table->layout == TABLE_PAIR ? TABLE_STRIDE_PAIR : TABLE_STRIDE;
}

static inline _Atomic(uintptr_t) *table_key_at(const struct table_segment *seg, uint32_t i)
{
	return &seg->slots->words[(size_t)i * seg->stride];
}

static inline _Atomic(uintptr_t) *table_value_at(const struct table_segment *seg, uint32_t i)
{
	return &seg->slots->words[(size_t)i * seg->stride + TABLE_VALUE];
}

static inline _Atomic(uintptr_t) *table_payload_at(const struct table_segment *seg, uint32_t i)
{
	return slots_word(seg->slots, i, seg->slots->payload);
}

static inline uintptr_t table_peek(const struct table_segment *seg, uint32_t i)
{
	return atomic_load_explicit(table_value_at(seg, i), memory_order_acquire);
}

static inline uint32_t table_live(const struct table_segment *seg)
{
	return atomic_load_explicit(&seg->slots->live, memory_order_relaxed);
}

/* ---- keys in the arena ---- */

static inline size_t table_key_room(size_t size)
{
	return size + (size < 255 ? 2 : 6);
}

static inline const unsigned char *table_arena_key(const struct table_arena *arena, uint32_t offset, size_t *size)
{
	const unsigned char *p = (const unsigned char *)arena + offset;
	uint32_t wide;

	if (likely(*p < 255)) {
		*size = *p;
		return p + 1;
	}
	memcpy(&wide, p + 1, sizeof wide);
	*size = wide;
	return p + 5;
}

static inline struct table_arena *table_arena_of(const struct table_segment *seg)
{
	return atomic_load_explicit(&seg->arena, memory_order_acquire);
}

/* Whether a vacant slot has no key, by its key word (and keys[i]). */
static inline bool table_is_erased(const struct table_segment *seg, uint32_t i, uint64_t word)
{
	if (seg->keys != NULL)
		return atomic_load_explicit(&seg->keys[i], memory_order_acquire) == NULL;
	if (table_is_self(seg->table))
		return true;
	return seg->table->layout == TABLE_BYTES ? (uint32_t)word == 0 : word == TABLE_ERASED;
}

/* Takes the key out of a vacant slot. Where a collection had made it vacant, the caller counts dead down. */
void table_erase_locked(struct table_segment *seg, uint32_t i);

enum table_state { TABLE_NOTHING, TABLE_DEAD, TABLE_LIVE };
/* table_read where the key is not the weak word, of a slot that is not EMPTY. */
enum table_state table_keyed_read(const struct table_segment *seg, uint32_t i, bool want_value, struct table_entry *entry);

/* table_get, with the value's word as well. */
int table_find(const struct table *table, const struct table_key *key, void **value, uintptr_t *raw);

/* Takes the value out of slot i and erases its key; false where the scan was faster, and then the key is erased as well. */
bool table_remove_locked(struct table_segment *seg, uint32_t i, void **value);

/* Where a key is, or would go: the first vacant slot on its way, else the empty one that ends it. */
struct table_spot {
	struct table_segment *seg;
	uint32_t i;
	bool found;
	uint64_t word; /* the key word that was found */
	void *have;    /* SELF, PAIR, HASHED: the key that is there */
};

/* ---- SELF and PAIR: table_self.c ---- */

/* table_find and table_read; and whether slot i, which had the value word *raw, has this key: 1, 0, or equal's error; *have receives the key
 * that stands there, and *raw its word. The entry receives key and value; PAIR's payload only where it is wanted. */
int table_self_find(const struct table *table, const struct table_key *key, bool want_payload, struct table_entry *entry);
enum table_state table_self_read(const struct table_segment *seg, uint32_t i, bool want_payload, struct table_entry *entry);
int table_self_match(const struct table *table, const struct table_segment *seg, uint32_t i, const struct table_key *key, void **have,
		     uintptr_t *raw);

/* What is in slot i, all of it of one moment: EMPTY or ERASED reads as NOTHING, the other two as DEAD and LIVE. */
static inline enum table_state table_read(const struct table_segment *seg, uint32_t i, bool want_value, struct table_entry *entry)
{
	if (table_peek(seg, i) == SLOTS_EMPTY)
		return TABLE_NOTHING;
	return table_is_self(seg->table) ? table_self_read(seg, i, want_value, entry) : table_keyed_read(seg, i, want_value, entry);
}

/* The payload of an entry that was found without the lock, and whose key the caller holds; false where it is not known without. */
bool table_self_payload(const struct table_spot *at, void **payload);
/* The same with the lock; false where a collection took the entry away. */
bool table_self_payload_locked(const struct table_segment *seg, uint32_t i, void **payload);
/* Puts another payload into the entry at a spot that was found; false as above. */
bool table_self_replace_locked(const struct table_spot *at, const struct table_key *key, uintptr_t payload);
/* Lets go of the payloads of a segment that was replaced. */
void table_self_forget_locked(struct table_segment *seg);

/* ---- shape: table_resize.c ---- */

/* A segment with n slots and an arena of so many bytes (0: none). Without the lock. NULL: no memory. */
struct table_segment *table_segment_new(struct table *table, uint32_t n, unsigned depth, uint32_t base, size_t arena);

/* The slots of an empty table. */
uint32_t table_slots_min(const struct table *table);

struct table_directory *table_directory_new(const struct table *table, unsigned depth);

/* Makes room in a segment: for one more slot in use if `full`, for `room` more bytes of keys; or, with neither, gives memory
 * back. Called with the segment's lock, returns without it, having allocated without it. The caller looks anew. 0 or -ENOMEM. */
int table_resize(struct table *table, struct table_segment *seg, bool full, size_t room);

/* Checks the table of the segment `owner`, if it is the first one there. In table_iter.c, for the slots of every segment. */
void table_check_owner(struct slots *slots, void *owner);

/* A segment that is, or is about to be, in the directory. */
void table_own(struct table_segment *seg);
/* Gives a segment up: it has been, or is about to be, replaced. Its lock. */
void table_retire_locked(struct table_segment *seg);

/* Before segments are put into the directory. The table's lock. */
static inline void table_count_shape_locked(struct table *table)
{
	uint32_t shapes = atomic_load_explicit(&table->shapes, memory_order_relaxed);

	atomic_store_explicit(&table->shapes, shapes + 1, memory_order_release);
}

/* Whether a segment is so sparse that a smaller one is worth making. */
static inline bool table_is_sparse(const struct table_segment *seg)
{
	return table_live(seg) < seg->thin;
}

/* Erases the keys of dead entries in at most `steps` slots. */
void table_sweep_locked(struct table_segment *seg, uint32_t steps);

#endif
