/* SPDX-License-Identifier: MIT */
/*
 * table: the hash table under the weak containers. Extendible hashing over segments of at most 64 KiB: a directory, indexed by the top
 * bits of a 32-bit position, of segments, each a linear-probing array of weak slots (slots.h) with the keys that belong to them.
 *
 * Keys are laid out in one of six ways. A slot is two words, key word and value; with PAIR three:
 *
 *     BYTES    key word = hash << 32 | offset in the segment's arena, an unscanned block to which keys are appended: length, bytes, NUL
 *     WORD     key word = the key. With strong_keys the key is a pointer, kept in the segment's scanned array keys[i] as well
 *     HASHED   key word = 64 bits of hash; the key is the pointer keys[i], compared by the container's function
 *     SELF     the value is the key: the weak word is what is looked for, by identity or by the container's function. Key word =
 *              62 bits of hash; there is nothing else
 *     PAIR     the same with a payload as third word (slots.h): what the collector does with it is its array's affair. The low two
 *              bits of the key word (TABLE_TAGS) are enum slots_payload
 *     BARE     the same by identity: no key word, the payload in its place, and its kind in the weak word's top bits. The hash is the
 *              pointer's
 *
 * States of a slot; its value word alone tells them apart:
 *
 *     EMPTY    never used: a search ends in its group
 *     VALUE    in use
 *     DEAD     VACANT, and the key is there yet: a collection took the value
 *     ERASED   VACANT, and the key is gone (offset 0; TABLE_ERASED; keys[i] == NULL; always with SELF, PAIR and BARE): removed, or dead and
 *              purged
 *
 *     EMPTY -> VALUE, ERASED -> VALUE, DEAD -> VALUE (of its own key or of another), VALUE -> VALUE    a writer
 *     VALUE -> ERASED                                                                                 a writer
 *     VALUE -> DEAD                                                                                   the collector's scan, at any point
 *     DEAD -> ERASED                                                                                  a purge
 *
 * A key's position says which segment it is in. It is made of a number, its part, times an odd one, each table's own: a bijection, so that
 * one table's order is none to another. With the same order in all, a table that is filled by going through another would have all its
 * entries at the same end of a segment, on each other's way, and on one side of every split. The part is the key's hash; but numbers, which
 * integers (WORD) and keys by identity are, go by runs: those that are the same but for their lowest bits have the same part. What was
 * made in a row is so in few segments, and a segment's keys are in few pages of the heap: who inserts them, and the scan, which asks for the
 * mark bit of each, finds in the processor's caches what he needs. Within a segment each run's keys stand at nearly equal distances, in an
 * order that few other tables have (spread), and each run begins elsewhere (table_within). A run has few enough keys for a segment to have
 * many runs, or splits would not be even.
 *
 * A search begins with the first slot of the group of TABLE_GROUP that hash and position say, goes group by group, and ends with the
 * first that has an EMPTY slot; within a group slots are filled from the first on.
 *
 * A slot never becomes EMPTY again and no entry moves within a segment: segments that are full of vacant slots, too small or
 * too sparse are replaced by fresh ones (a rebuild, or a split in two) and retired. A retired segment is never written again
 * but by the scan, and where a pair's payloads are let go (below); readers and iterators that still have it go on with it, and
 * the collector frees it after them. Its arena may go on with the segment in its place: there keys are appended, behind the retired one's
 * fill, and what is below never changes.
 *
 * Invariants (table_check; those of a segment with its lock held, those of the directory with the table's)
 *  1. The directory has 2^depth entries. A segment of depth d stands in 2^(depth-d) of them, those whose index begins with its d bits.
 *  2. No segment in the directory is retired, and no array has an owner but those of segments in it, or about to be retired. Its base
 *     has no bit below its depth, and every key in it has a position with the base's top bits.
 *  3. used == slots that are not EMPTY, and used <= limit < n: every search ends.
 *  4. A key is in one slot of its segment at most, DEAD ones counted, and no EMPTY slot is on its way from the key's home, the first slot of
 *     its group, to it.
 *  5. slots.live >= VALUE slots, slots.dead == DEAD slots; the scan keeps both so, with the world stopped. With SELF and the like there are
 *     no DEAD slots: dead is then how many deaths no write or purge has taken note of.
 *  6. Arena offsets lie within fill <= capacity, behind which the block has TABLE_ARENA_SLACK bytes; the keys in use and `garbage` together
 *     are fill.
 *
 * Readers take no lock. They look at: directory, segment, value word (EMPTY ends), key word, arena or keys[i], the value
 * through epoch_load, and then once more at the key. A BYTES slot that got another key has another key word, since arenas only
 * grow: the same word means the same key all along. In the other layouts a key may leave a slot and come back, so there the
 * segment counts take-overs:
 *     writer   value is VACANT; key (release); one take-over more (release); value (release)
 *     reader   takeovers (acquire); key (acquire); value (acquire); takeovers: the same number?
 * If the value came from a take-over T, then the second count includes T, so the first does, so the key is T's or a later
 * one's; a later one's key was stored after T's value had been taken out, which the value's load would have seen. Keys that are
 * pointers are only ever loaded from keys[i], which the collector scans: from the load on they are in a register. The unscanned
 * key word of such a key is compared, never followed.
 *
 * The hash of a BARE key is its address's, so that a rebuild needs nothing but the weak word; a slot is a payload and a key that were there
 * at one moment, which is what is compared.
 *
 * A PAIR, bare or not, is read by slots_load, of one moment but for take-overs, which are counted as above. A replaced segment lets go of its
 * payloads (TABLE_FORGOTTEN, then kinds and payload words 0), so that an iterator which has it yet keeps none alive; a reader that sees this
 * after it loaded one looks anew, in the segment that has been put in its place before.
 *
 * Writers hold their segment's lock, a stripe; what they find retired then, they leave, and look anew: the directory has another in its
 * place, or will have before the lock is free. A table of many segments has sixteen locks, by the top bits of the position. Neither user
 * code runs nor anything is allocated with it: a custom key is looked for without the lock, which is then taken and the segment's count
 * of key changes compared; what a write lacks is allocated without the lock, and used if it still fits then.
 *
 * The directory's entries are stored with the table's lock besides, which is taken last: those of a segment by who has that one's lock, all
 * of them by who doubles the directory, or clears the table. A clearing puts an empty directory in the place first, and retires
 * the segments then, one after the other; until its turn a writer who found one before goes on in it, as if he had been earlier than the
 * clearing, and what he would put in its place there does not fit any more. So who has no lock learns from the directory alone
 * whether a segment is the table's.
 *
 * The collector may stop a writer between any two instructions. What the scan sees then: value words, and counts that were
 * raised before a value was stored and lowered after one was exchanged out. A rebuild takes some values at a time onto its stack, without
 * their tags, and looks at the epoch before and after, as epoch_load does for one: so between the two arrays they are where the collector
 * looks, and each is marked and both arrays keep it, or was cleared in the old one before it was read. Both arrays are registered, so a value
 * that dies later vanishes from both.
 *
 * Deliberately not here: what values are and who may be one, user-visible errors but the codes, merging of segments (a directory never
 * shrinks but by table_clear; small segments are cheap).
 */
#ifndef TABLE_H
#define TABLE_H

#include "lock.h"
#include "slots.h"

enum table_layout { TABLE_BYTES, TABLE_WORD, TABLE_HASHED, TABLE_SELF, TABLE_PAIR, TABLE_BARE };

/* Words of a slot: key word, weak word, and with PAIR a payload. */
#define TABLE_STRIDE 2
#define TABLE_STRIDE_PAIR 3
#define TABLE_VALUE 1

/* The payload's word in a slot of PAIR, and of BARE. */
#define TABLE_PAYLOAD 2
#define TABLE_BARE_PAYLOAD 0

#define TABLE_TAGS SLOTS_PAYLOAD_MASK

/* The longest key in bytes; an arena's offsets have 32 bits. */
#define TABLE_KEY_MAX ((size_t)1 << 30)

/* The key word of an erased WORD slot. It may be a key too, since a slot's state is its value's; but of this one key a dead entry
 * counts as
 * erased, and one whose value is replaced, and then dies, may be missed by an iterator whose segment was rebuilt before both. */
#define TABLE_ERASED UINT64_C(0x91e10da5c79e7b1d)

/* The heap that a table lives on. A zeroed scanned block; an unscanned one; slots known to the scan; whom to purge. NULL: no memory. */
struct table_ops {
	void *(*alloc)(size_t size);
	void *(*alloc_leaf)(size_t size);
	struct slots *(*slots_new)(uint32_t n, unsigned stride, unsigned value, void (*purge)(struct slots *slots, void *owner));
	void (*set_owner)(struct slots *slots, const void *owner);
};

/* 1 equal, 0 not, or a negative error, which the operation returns. Called without a lock. */
typedef int (*table_equal_fn)(const void *a, const void *b, void *user);

struct table_segment;
struct table_directory;
struct table_arena;

/* Stands at the start of its container, since segments point to it. */
struct table {
	uint64_t signature; /* the container's, written last */
	const struct table_ops *ops;
	struct lock_word *lock; /* the directory's */
	_Atomic(struct table_directory *) directory;
	table_equal_fn equal;
	void *user;
	_Atomic uint32_t hand;   /* the position at which table_any goes on */
	_Atomic uint32_t shapes; /* how often segments were put into the directory; its lock */
	uint8_t layout;
	bool strong_keys; /* there are keys[] */
	uint32_t scatter; /* what makes a position of a part: odd */
	uint32_t spread;  /* what a run's hashes are multiplied by: odd, and small */
};

/* A key made ready. */
struct table_key {
	const void *data; /* BYTES: the bytes; strong_keys, SELF, PAIR: the pointer */
	size_t size;      /* BYTES */
	uint64_t word;    /* the key word, but with BYTES; BARE: tags alone matter */
	uint32_t hash;    /* tells where in a segment */
	uint32_t part;    /* tells in which */
	uintptr_t self; /* SELF, PAIR, BARE: the weak word to store, without a payload's kind */
};

/* An entry as a look at it found it. */
struct table_entry {
	struct table_key key; /* BYTES: data points into arena */
	void *value;          /* NULL where it was not asked for; SELF: the key; PAIR: the payload */
	uintptr_t raw;        /* the weak word */
	struct table_arena *arena;
};

/* ---- keys ---- */

/* What numbers are multiplied by: the golden ratio, as a fraction of 2^64. */
#define TABLE_RATIO UINT64_C(0x9e3779b97f4a7c15)

/* A number's hash, by its top bits: of an integer, and of a pointer that is compared by identity (with SELF and BARE it is the key word, too).
 * Numbers at equal distances come to lie at nearly equal distances (Fibonacci hashing). */
static inline uint64_t table_number_word(uint64_t number)
{
	return number * TABLE_RATIO;
}

/* What table_key_bytes hashes to. */
uint32_t table_hash_bytes(const void *data, size_t size);
/* The data is borrowed for as long as the key is used. */
void table_key_bytes(struct table_key *key, const void *data, size_t size);
/* A string's; without a step for each of its bytes where it is short. */
void table_key_string(struct table_key *key, const char *string);
void table_key_word(struct table_key *key, uint64_t word);
void table_key_pointer(struct table_key *key, const void *p);
void table_key_hashed(struct table_key *key, const void *p, uint64_t hash);
/* SELF and PAIR that compare by a function: raw is the word to store for p, 0 where p is only looked for; the hash is mixed here. */
void table_key_self(struct table_key *key, const void *p, uintptr_t raw, uint64_t hash);
/* The same for a table that compares by identity. */
void table_key_identity(struct table_key *key, const void *p, uintptr_t raw);
/* PAIR: what the payload is that will be put under the key. */
void table_key_tag(struct table_key *key, unsigned tag);

/* ---- the table ---- */

/* Makes a table in zeroed memory: everything but the signature. equal is for HASHED, SELF and PAIR; NULL, for the latter two, means
 * identity, and PAIR then BARE. 0 or -ENOMEM. */
int table_init(struct table *table, const struct table_ops *ops, enum table_layout layout, bool strong_keys, table_equal_fn equal,
	       void *user);

/* The value under a key. 0; -ENOENT, -ESTALE (the slot is DEAD), or equal's error, with *value NULL. No lock. */
int table_get(const struct table *table, const struct table_key *key, void **value);

/* SELF, PAIR, BARE: the key that is there, and equal to one. 0, -ENOENT, or equal's error, with *have NULL. No lock. */
int table_get_key(const struct table *table, const struct table_key *key, void **have);

/* As table_get, telling only whether there is one: no value is loaded as a pointer. 0 or an error. No lock. */
int table_has(const struct table *table, const struct table_key *key);

enum table_put_mode { TABLE_REPLACE, TABLE_KEEP };

/* Stores a value word under a key; with KEEP only where there is no live value. *now receives the value that was kept, else NULL; NULL
 * for REPLACE. The caller keeps the value alive. TABLE_KEPT where there was one to keep, else 0; -ENOMEM (nothing changed), or equal's
 * error. SELF: only with KEEP; raw is not looked at, and *now receives the key that was kept. PAIR: raw is the payload. An entry that is kept
 * takes no lock. */
#define TABLE_KEPT 1
int table_put(struct table *table, const struct table_key *key, uintptr_t raw, enum table_put_mode mode, void **now);

/* The key will be put at once: what it will find is fetched meanwhile. No lock. */
void table_expect(const struct table *table, const struct table_key *key);

/* Takes an entry out and gives its value. 0, -ENOENT (also when it was dead: then it is erased), or equal's error. Allocates nothing. */
int table_take(struct table *table, const struct table_key *key, void **value);

/* Removes everything. 0 or -ENOMEM, and then nothing was. */
int table_clear(struct table *table);

/* Values there are; never less than those that live. No lock. */
size_t table_len(const struct table *table);

/* ---- one after the other: table_iter.c ---- */

/* Where an iteration is: a position up to which all is done, and the segment that is being walked. On the heap or a stack, scanned. */
struct table_iter {
	const struct table *table;
	struct table_segment *segment;
	uint64_t position;
	uint32_t index;
};

void table_iter_init(struct table_iter *iter, const struct table *table);

/* The next live entry, with its value if wanted: 1, 0 at the end, or equal's error. entry->key is good while the caller holds
 * entry->arena. No lock. */
int table_iter_next(struct table_iter *iter, bool want_value, struct table_entry *entry);

/* Where table_any found an entry. */
struct table_place {
	struct table_segment *segment;
	uint32_t index;
	uint64_t word;
	const void *key;
};

/* Some live entry, a different one each time as long as those given are taken: 0 or -ENOENT. */
int table_any(struct table *table, struct table_place *place, struct table_entry *entry);

/* Takes that entry out, if it is there still: then true, and its value. May allocate, to give memory back. */
bool table_take_at(struct table *table, const struct table_place *place, void **value);

/* Checks the invariants; takes the locks. */
void table_check(struct table *table);

#endif
