/* SPDX-License-Identifier: MIT */
/*
 * table: keys, look-up, writing and taking of the hash table; its states, invariants and locks are told in table.h. Here nothing is
 * allocated but what table_init and table_clear begin with: a write that lacks room asks table_resize and looks anew.
 */
#include "bytes.h"
#include "table_group.h"

/* Slots that a write looks at for dead keys to drop, when there are any. */
#define SWEEP_STEPS 16

#define FLATTEN static inline __attribute__((always_inline))

/* ---- keys ---- */

uint32_t table_hash_bytes(const void *data, size_t size)
{
	return size < BYTES_SHORT ? table_hash_short(bytes_words(data, size)) : table_fold(XXH3_64bits(data, size));
}

void table_key_bytes(struct table_key *key, const void *data, size_t size)
{
	*key = (struct table_key){.data = data, .size = size, .hash = table_hash_bytes(data, size)};
	key->part = key->hash;
}

void table_key_string(struct table_key *key, const char *string)
{
#if BYTES_SSE2
	struct bytes_vector v;

	if (likely(bytes_vector_of_string(string, &v))) {
		*key = (struct table_key){.data = string, .size = v.size, .hash = table_hash_short(bytes_vector_words(&v))};
		key->part = key->hash;
		return;
	}
#endif
	table_key_bytes(key, string, strlen(string));
}

void table_key_word(struct table_key *key, uint64_t word)
{
	*key = (struct table_key){
		.word = word, .hash = table_fold(table_number_word(word)), .part = table_integer_part(word)};
}

void table_key_pointer(struct table_key *key, const void *p)
{
	uintptr_t word = (uintptr_t)p;

	*key = (struct table_key){.data = p, .word = word, .hash = table_fold(table_number_word(word)), .part = table_pointer_part(p)};
}

void table_key_hashed(struct table_key *key, const void *p, uint64_t hash)
{
	uint64_t mixed = base_mix(hash);

	*key = (struct table_key){.data = p, .word = mixed, .hash = table_fold(mixed), .part = table_fold(mixed)};
}

void table_key_self(struct table_key *key, const void *p, uintptr_t raw, uint64_t hash)
{
	uint64_t mixed = base_mix(hash);
	uint32_t folded = table_fold(mixed);

	*key = (struct table_key){.data = p, .word = mixed & ~TABLE_TAGS, .hash = folded, .part = folded, .self = raw};
}

void table_key_identity(struct table_key *key, const void *p, uintptr_t raw)
{
	uint64_t word = table_number_word((uintptr_t)p);

	*key = (struct table_key){
		.data = p, .word = word & ~TABLE_TAGS, .hash = table_fold(word), .part = table_pointer_part(p), .self = raw};
}

void table_key_tag(struct table_key *key, unsigned tag)
{
	ASSERT(tag <= TABLE_TAGS);
	key->word = (key->word & ~TABLE_TAGS) | tag;
}

/* Appends a key; there is room. Its offset. */
FLATTEN uint32_t arena_append_locked(struct table_segment *seg, struct table_arena *arena, const void *data, size_t size)
{
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

/* ---- one slot ---- */

/* The same as table_key_at and so on, where the layout is known to have slots of two words: a shift instead of a multiplication. */
FLATTEN _Atomic(uintptr_t) *key_at(const struct table_segment *seg, uint32_t i)
{
	return &seg->slots->words[(size_t)i * TABLE_STRIDE];
}

FLATTEN _Atomic(uintptr_t) *value_at(const struct table_segment *seg, uint32_t i)
{
	return &seg->slots->words[(size_t)i * TABLE_STRIDE + TABLE_VALUE];
}

FLATTEN uintptr_t peek(const struct table_segment *seg, uint32_t i)
{
	return atomic_load_explicit(value_at(seg, i), memory_order_acquire);
}

/* Whether slot i, which has this key word, has this key: 1, 0, or equal's error. *have receives the key that stands there (HASHED). */
FLATTEN int match(const struct table *table, const struct table_segment *seg, uint32_t i, uint64_t word, const struct table_key *key,
		  enum table_layout layout, void **have)
{
	if (layout == TABLE_WORD)
		return word == key->word;
	if (layout == TABLE_BYTES) {
		size_t size;
		if ((uint32_t)(word >> 32) != key->hash || (uint32_t)word == 0)
			return 0;
		const struct table_arena *arena = table_arena_of(seg);
		const unsigned char *bytes = table_arena_key(arena, (uint32_t)word, &size);
		int same = size == key->size && memcmp(bytes, key->data, size) == 0;
		BASE_KEEP(arena); /* where interior pointers do not count, bytes alone would not keep it */
		return same;
	}
	if (word != key->word)
		return 0;
	void *p = atomic_load_explicit(&seg->keys[i], memory_order_acquire);
	BASE_PIN(p);
	*have = p;
	if (p == NULL)
		return 0;
	return p == key->data ? 1 : table->equal(p, key->data, table->user);
}

FLATTEN uintptr_t load_value(const struct table_segment *seg, uint32_t i, bool load, void **value)
{
	uintptr_t raw;

	if (!load)
		return peek(seg, i);
	*value = epoch_load(value_at(seg, i), &raw);
	return raw;
}

/* Reads the value of a slot whose key matched when it had this word, and `have`; false where the slot has got another key since. */
FLATTEN bool value_of_key(const struct table_segment *seg, uint32_t i, uint64_t word, void *have, enum table_layout layout, bool load,
			  void **value, uintptr_t *raw)
{
	if (layout == TABLE_BYTES) {
		*raw = load_value(seg, i, load, value);
		return atomic_load_explicit(key_at(seg, i), memory_order_relaxed) == word;
	}
	for (;;) {
		uint64_t takeovers = atomic_load_explicit(&seg->takeovers, memory_order_acquire);
		if (atomic_load_explicit(key_at(seg, i), memory_order_acquire) != word)
			return false;
		if (layout == TABLE_HASHED && atomic_load_explicit(&seg->keys[i], memory_order_acquire) != have)
			return false;
		*raw = load_value(seg, i, load, value);
		if (likely(atomic_load_explicit(&seg->takeovers, memory_order_relaxed) == takeovers))
			return true;
	}
}

enum table_state table_keyed_read(const struct table_segment *seg, uint32_t i, bool want_value, struct table_entry *entry)
{
	const struct table *table = seg->table;
	uint64_t takeovers, word;
	uintptr_t raw;
	void *key, *value;

	do {
		takeovers = atomic_load_explicit(&seg->takeovers, memory_order_acquire);
		word = atomic_load_explicit(table_key_at(seg, i), memory_order_acquire);
		key = seg->keys == NULL ? NULL : atomic_load_explicit(&seg->keys[i], memory_order_acquire);
		BASE_PIN(key);
		value = NULL;
		raw = load_value(seg, i, want_value, &value);
	} while (atomic_load_explicit(&seg->takeovers, memory_order_relaxed) != takeovers);

	bool live = slots_is_value(raw), bytes = table->layout == TABLE_BYTES;
	if (!live && (seg->keys != NULL ? key == NULL : bytes ? (uint32_t)word == 0 : word == TABLE_ERASED))
		return TABLE_NOTHING;
	uint32_t hash = table_word_hash(table, word), part = table_slot_part(table, (enum table_layout)table->layout, word, NULL);
	*entry = (struct table_entry){.key = {.data = key, .word = word, .hash = hash, .part = part}};
	if (bytes) {
		entry->arena = table_arena_of(seg);
		entry->key.data = table_arena_key(entry->arena, (uint32_t)word, &entry->key.size);
	}
	if (!live)
		return TABLE_DEAD;
	entry->value = value;
	entry->raw = raw;
	return TABLE_LIVE;
}

/* Others only read it: no exchange on the bus. */
static void count_locked(_Atomic uint64_t *count, unsigned step)
{
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + step, memory_order_release);
}

void table_erase_locked(struct table_segment *seg, uint32_t i)
{
	uint64_t word = atomic_load_explicit(table_key_at(seg, i), memory_order_relaxed);
	size_t size;

	if (seg->keys != NULL)
		atomic_store_explicit(&seg->keys[i], NULL, memory_order_release);
	if (seg->table->layout == TABLE_BYTES) {
		table_arena_key(table_arena_of(seg), (uint32_t)word, &size);
		seg->garbage += (uint32_t)table_key_room(size);
		atomic_store_explicit(table_key_at(seg, i), 0, memory_order_release);
	} else if (seg->table->layout == TABLE_WORD) {
		atomic_store_explicit(table_key_at(seg, i), TABLE_ERASED, memory_order_release);
	}
	count_locked(&seg->writes, 1);
}

bool table_remove_locked(struct table_segment *seg, uint32_t i, void **value)
{
	uintptr_t raw;
	uintptr_t payload = 0;
	void *weak;

	*value = NULL;
	if (table_is_pair(seg->table))
		slots_load(seg->slots, i, &weak, &payload);
	else
		weak = epoch_load(table_value_at(seg, i), &raw);
	/* The value, or both of a pair, are in registers from here on, so the scan leaves the slot alone. */
	bool taken = slots_is_value(slots_take(seg->slots, i));
	if (taken)
		*value = table_is_pair(seg->table) ? (void *)payload : weak;
	else if (!table_is_self(seg->table))
		atomic_fetch_sub_explicit(&seg->slots->dead, 1, memory_order_relaxed);
	BASE_KEEP(weak);
	BASE_KEEP(payload);
	table_erase_locked(seg, i);
	return taken;
}

/* ---- look-up ---- */

/* Writes *value and *found on success only. */
FLATTEN int find(const struct table *table, const struct table_key *key, enum table_layout layout, bool load, void **value,
		 uintptr_t *found)
{
	const uint32_t position = table_position(table, key->part), within = table_within(table, layout, key->hash, position);
	const struct table_segment *seg;
	void *have = NULL, *loaded = NULL;
	uint32_t at, left;
	uintptr_t raw;

again:
	seg = table_segment_of(table, position);
	at = table_home(seg, within);
	for (left = seg->n; left > 0; left -= TABLE_GROUP, at = table_group_next(seg, at)) {
		struct table_group group = table_group_of_key(seg, at, key, layout);
		while (group.hits != 0) {
			uint32_t i = table_group_take(&group.hits, at);
			uint64_t word = atomic_load_explicit(key_at(seg, i), memory_order_acquire);
			/* The caller will want the object: fetch it while its key is compared. */
			if (layout == TABLE_BYTES && load)
				__builtin_prefetch((const void *)(peek(seg, i) & ~EPOCH_TAG));
			int same = match(table, seg, i, word, key, layout, &have);
			if (same == 0)
				continue;
			if (unlikely(same < 0))
				return same;
			if (unlikely(!value_of_key(seg, i, word, have, layout, load, &loaded, &raw)))
				goto again;
			if (likely(slots_is_value(raw))) {
				*value = loaded;
				*found = raw;
				return 0;
			}
			if (layout != TABLE_WORD || word != TABLE_ERASED)
				return -WEAKREF_ESTALE;
		}
		if (group.empty != 0)
			return -WEAKREF_ENOENT;
	}
	return -WEAKREF_ENOENT;
}

/* Not inlined: its entry would cost the others room on the stack. */
static NOINLINE int find_self(const struct table *table, const struct table_key *key, bool load, void **value, uintptr_t *raw)
{
	struct table_entry entry;
	int error = table_self_find(table, key, load, &entry);

	if (error == 0) {
		*value = entry.value;
		*raw = entry.raw;
	}
	return error;
}

int table_get(const struct table *table, const struct table_key *key, void **value)
{
	uintptr_t raw;

	return table_find(table, key, value, &raw);
}

int table_find(const struct table *table, const struct table_key *key, void **value, uintptr_t *raw)
{
	*value = NULL;
	switch ((enum table_layout)table->layout) {
	case TABLE_BYTES:
		return find(table, key, TABLE_BYTES, true, value, raw);
	case TABLE_WORD:
		return find(table, key, TABLE_WORD, true, value, raw);
	case TABLE_HASHED:
		return find(table, key, TABLE_HASHED, true, value, raw);
	default:
		return find_self(table, key, true, value, raw);
	}
}

int table_has(const struct table *table, const struct table_key *key)
{
	uintptr_t raw;
	void *none;

	switch ((enum table_layout)table->layout) {
	case TABLE_BYTES:
		return find(table, key, TABLE_BYTES, false, &none, &raw);
	case TABLE_WORD:
		return find(table, key, TABLE_WORD, false, &none, &raw);
	case TABLE_HASHED:
		return find(table, key, TABLE_HASHED, false, &none, &raw);
	default:
		return find_self(table, key, false, &none, &raw);
	}
}

size_t table_len(const struct table *table)
{
	struct table_directory *dir = atomic_load_explicit(&table->directory, memory_order_acquire);
	uint64_t entries = UINT64_C(1) << dir->depth;
	size_t len = 0;

	/* Upwards, and a split stores its entries downwards: who sees the first half's new segment sees the second half's as well. */
	for (uint64_t i = 0; i < entries;) {
		struct table_segment *seg = atomic_load_explicit(&dir->entries[i], memory_order_acquire);
		len += table_live(seg);
		i = table_segment_end(seg) >> (32 - dir->depth);
	}
	return len;
}

/* ---- writing ---- */

/* Finds a writer's place. */
FLATTEN int probe(const struct table *table, const struct table_key *key, enum table_layout layout, struct table_spot *at)
{
	struct table_segment *seg = at->seg;
	uint32_t within = table_within(table, layout, key->hash, table_position(table, key->part));
	uint32_t from = table_home(seg, within), vacant = UINT32_MAX;

	at->found = false;
	for (;; from = table_group_next(seg, from)) {
		struct table_group group = table_group_of_key(seg, from, key, layout);
		while (unlikely(group.hits != 0)) {
			uint32_t i = table_group_take(&group.hits, from);
			uint64_t word = atomic_load_explicit(table_key_at(seg, i), memory_order_acquire);
			uintptr_t raw = table_peek(seg, i);
			if (raw == SLOTS_EMPTY || (raw == SLOTS_VACANT && table_is_erased(seg, i, word)))
				continue;
			int same = layout >= TABLE_SELF ? table_self_match(table, seg, i, key, &at->have, &raw)
							: match(table, seg, i, word, key, layout, &at->have);
			if (unlikely(same < 0))
				return same;
			if (same != 0) {
				at->found = true;
				at->i = i;
				at->word = word;
				return 0;
			}
		}
		unsigned open = group.empty | group.vacant;
		if (open == 0)
			continue;
		if (likely(vacant == UINT32_MAX))
			vacant = from + (uint32_t)__builtin_ctz(open);
		/* Some slot is empty (invariant 3): every search comes here. */
		if (likely(group.empty != 0)) {
			at->i = vacant;
			return 0;
		}
	}
}

/* An entry that was found without the lock, as a reader has it; false where it is gone. */
FLATTEN bool kept_unlocked(const struct table_spot *at, enum table_layout layout, void **now)
{
	uintptr_t raw;

	*now = at->have;
	if (layout == TABLE_SELF)
		return true;
	if (layout > TABLE_SELF)
		return table_self_payload(at, now);
	return value_of_key(at->seg, at->i, at->word, at->have, layout, true, now, &raw) && slots_is_value(raw);
}

/* Finds a key's place, and takes the lock then, if nobody wrote meanwhile: so it is where functions of the container's compare, and where an
 * entry that is there need only be looked at. What the scan does meanwhile is harmless: a key that was found stays, be its value dead (or
 * is held, where it is the weak word itself), and a vacant slot stays vacant. 0 with the lock; TABLE_KEPT, or an error, without it. */
FLATTEN int locate_unlocked(struct table *table, const struct table_key *key, struct table_spot *at, enum table_layout layout, bool keep,
			    void **now)
{
	for (;;) {
		at->seg = table_segment_of(table, table_position(table, key->part));
		at->have = NULL;
		uint64_t writes = atomic_load_explicit(&at->seg->writes, memory_order_acquire);
		int error = probe(table, key, layout, at);
		if (unlikely(error < 0))
			return error;
		if (keep && at->found) {
			if (likely(kept_unlocked(at, layout, now)))
				return TABLE_KEPT;
			*now = NULL;
		}
		lock_stripe_take(at->seg->lock);
		if (likely(!at->seg->retired && atomic_load_explicit(&at->seg->writes, memory_order_relaxed) == writes))
			return 0;
		lock_stripe_drop(at->seg->lock);
	}
}

/* Finds a key's place where nothing has to be called, and takes the lock. */
FLATTEN void locate_locked(struct table *table, const struct table_key *key, struct table_spot *at, enum table_layout layout)
{
	at->seg = table_lock_segment(table, table_position(table, key->part));
	at->have = NULL;
	probe(table, key, layout, at);
}

/* Finds a key's place and returns with the lock; on an error without. */
static int locate(struct table *table, const struct table_key *key, struct table_spot *at)
{
	switch ((enum table_layout)table->layout) {
	case TABLE_BYTES:
		locate_locked(table, key, at, TABLE_BYTES);
		break;
	case TABLE_WORD:
		locate_locked(table, key, at, TABLE_WORD);
		break;
	case TABLE_BARE:
		locate_locked(table, key, at, TABLE_BARE);
		break;
	case TABLE_HASHED:
		return locate_unlocked(table, key, at, TABLE_HASHED, false, NULL);
	case TABLE_PAIR:
		return locate_unlocked(table, key, at, TABLE_PAIR, false, NULL);
	default:
		if (table->equal != NULL)
			return locate_unlocked(table, key, at, TABLE_SELF, false, NULL);
		locate_locked(table, key, at, TABLE_SELF);
	}
	return 0;
}

/* Puts a value into a slot that has its key. */
static void store_locked(struct table_segment *seg, uint32_t i, uintptr_t raw)
{
	_Atomic(uintptr_t) *word = table_value_at(seg, i);
	uintptr_t old = atomic_load_explicit(word, memory_order_relaxed);

	/* Value for value: the count stays. Nobody but the scan changes the word meanwhile, and that at most once. */
	while (slots_is_value(old))
		if (atomic_compare_exchange_strong_explicit(word, &old, raw, memory_order_acq_rel, memory_order_relaxed))
			return;
	atomic_fetch_sub_explicit(&seg->slots->dead, 1, memory_order_relaxed);
	base_add(&seg->slots->live, 1);
	atomic_store_explicit(word, raw, memory_order_release);
	count_locked(&seg->writes, 1);
}

/* Puts a key and its value into a slot that is empty or vacant; there is room for the key. */
FLATTEN void place_locked(struct table_segment *seg, uint32_t i, const struct table_key *key, uintptr_t raw, enum table_layout layout)
{
	const unsigned stride = layout == TABLE_PAIR ? TABLE_STRIDE_PAIR : TABLE_STRIDE;
	_Atomic(uintptr_t) *slot = &seg->slots->words[(size_t)i * stride];
	bool fresh = atomic_load_explicit(slot + TABLE_VALUE, memory_order_relaxed) == SLOTS_EMPTY;
	uint64_t word = key->word;

	if (likely(fresh)) {
		seg->used++;
	} else if (!table_is_erased(seg, i, atomic_load_explicit(slot, memory_order_relaxed))) {
		table_erase_locked(seg, i);
		atomic_fetch_sub_explicit(&seg->slots->dead, 1, memory_order_relaxed);
	}
	if (layout == TABLE_BARE)
		word = raw;
	if (layout == TABLE_BYTES)
		word = (uint64_t)key->hash << 32 | arena_append_locked(seg, table_arena_of(seg), key->data, key->size);
	if ((layout == TABLE_WORD || layout == TABLE_HASHED) && seg->keys != NULL)
		atomic_store_explicit(&seg->keys[i], (void *)(uintptr_t)key->data, memory_order_release);
	atomic_store_explicit(slot, word, memory_order_release);
	if (layout == TABLE_PAIR)
		atomic_store_explicit(slot + TABLE_PAYLOAD, raw, memory_order_release);
	if (layout >= TABLE_SELF)
		raw = layout == TABLE_BARE ? key->self | (key->word & TABLE_TAGS) << SLOTS_PAYLOAD_SHIFT : key->self;
	if (!fresh)
		count_locked(&seg->takeovers, 2);
	base_add(&seg->slots->live, 1);
	atomic_store_explicit(slot + TABLE_VALUE, raw, memory_order_release);
	/* Last: a search without the lock that has this count from before it began has seen the value too. */
	count_locked(&seg->writes, 1);
}

static inline bool has_room_for(struct table_segment *seg, size_t room)
{
	struct table_arena *arena = table_arena_of(seg);

	return arena != NULL && room <= arena->capacity - seg->fill;
}

/* After a write: some housekeeping in proportion. Called with the lock, returns without. */
static inline void tidy(struct table *table, struct table_segment *seg)
{
	if (unlikely(atomic_load_explicit(&seg->slots->dead, memory_order_relaxed) != 0))
		table_sweep_locked(seg, SWEEP_STEPS);
	if (likely(!table_is_sparse(seg)))
		lock_stripe_drop(seg->lock);
	else
		table_resize(table, seg, false, 0); /* to give memory back; if there is none for that, it stays as it is */
}

/* Writes to an entry that is there, with the lock: 0, TABLE_KEPT, or -ENOENT where a collection has just taken it away. */
static int put_present_locked(const struct table_spot *at, const struct table_key *key, uintptr_t raw, enum table_put_mode mode,
			      void **now)
{
	const struct table *table = at->seg->table;
	uintptr_t old;

	if (table_is_pair(table)) {
		if (mode == TABLE_KEEP)
			return table_self_payload_locked(at->seg, at->i, now) ? TABLE_KEPT : -WEAKREF_ENOENT;
		return table_self_replace_locked(at, key, raw) ? 0 : -WEAKREF_ENOENT;
	}
	if (mode == TABLE_KEEP) {
		void *kept = epoch_load(table_value_at(at->seg, at->i), &old);
		if (slots_is_value(old)) {
			*now = kept;
			return TABLE_KEPT;
		}
	}
	store_locked(at->seg, at->i, raw);
	return 0;
}

/* Writes at the place that was found, with the lock, and drops it: 0, TABLE_KEPT, -ENOMEM; or -ENOENT: it must be found anew. */
FLATTEN int put_at(struct table *table, struct table_spot *at, const struct table_key *key, uintptr_t raw, enum table_put_mode mode,
		   void **now, enum table_layout layout)
{
	struct table_segment *seg = at->seg;
	size_t room = layout == TABLE_BYTES ? table_key_room(key->size) : 0;

	if (at->found) {
		int result = put_present_locked(at, key, raw, mode, now);
		BASE_KEEP(at->have);
		if (result == 0)
			tidy(table, seg);
		else
			lock_stripe_drop(seg->lock);
		return result;
	}
	bool full = seg->used >= seg->limit && table_peek(seg, at->i) == SLOTS_EMPTY;
	if (unlikely(full || (layout == TABLE_BYTES && !has_room_for(seg, room)))) {
		int error = table_resize(table, seg, full, room);
		return error < 0 ? error : -WEAKREF_ENOENT;
	}
	place_locked(seg, at->i, key, raw, layout);
	tidy(table, seg);
	return 0;
}

/* Over what is there, where nothing has to be called. */
FLATTEN int put_locked(struct table *table, const struct table_key *key, uintptr_t raw, void **now, enum table_layout layout)
{
	struct table_spot at;
	int result;

	do {
		locate_locked(table, key, &at, layout);
		result = put_at(table, &at, key, raw, TABLE_REPLACE, now, layout);
	} while (unlikely(result == -WEAKREF_ENOENT));
	return result;
}

FLATTEN int put_unlocked(struct table *table, const struct table_key *key, uintptr_t raw, enum table_put_mode mode, void **now,
			 enum table_layout layout)
{
	struct table_spot at;
	int result;

	do {
		result = locate_unlocked(table, key, &at, layout, mode == TABLE_KEEP, now);
		if (result == 0)
			result = put_at(table, &at, key, raw, mode, now, layout);
	} while (unlikely(result == -WEAKREF_ENOENT));
	return result;
}

static NOINLINE int put_looking(struct table *table, const struct table_key *key, uintptr_t raw, enum table_put_mode mode, void **now)
{
	switch ((enum table_layout)table->layout) {
	case TABLE_BYTES:
		return put_unlocked(table, key, raw, mode, now, TABLE_BYTES);
	case TABLE_WORD:
		return put_unlocked(table, key, raw, mode, now, TABLE_WORD);
	case TABLE_HASHED:
		return put_unlocked(table, key, raw, mode, now, TABLE_HASHED);
	case TABLE_SELF:
		return put_unlocked(table, key, raw, mode, now, TABLE_SELF);
	case TABLE_PAIR:
		return put_unlocked(table, key, raw, mode, now, TABLE_PAIR);
	default:
		return put_unlocked(table, key, raw, mode, now, TABLE_BARE);
	}
}

int table_put(struct table *table, const struct table_key *key, uintptr_t raw, enum table_put_mode mode, void **now)
{
	ASSERT(key->size <= TABLE_KEY_MAX && (mode == TABLE_KEEP || table->layout != TABLE_SELF));
	*now = NULL;
	if (mode == TABLE_KEEP || table->equal != NULL)
		return put_looking(table, key, raw, mode, now);
	switch ((enum table_layout)table->layout) {
	case TABLE_BYTES:
		return put_locked(table, key, raw, now, TABLE_BYTES);
	case TABLE_WORD:
		return put_locked(table, key, raw, now, TABLE_WORD);
	default:
		return put_locked(table, key, raw, now, TABLE_BARE);
	}
}

void table_expect(const struct table *table, const struct table_key *key)
{
	uint32_t position = table_position(table, key->part);
	const struct table_segment *seg = table_segment_of(table, position);
	uint32_t within = table_within(table, (enum table_layout)table->layout, key->hash, position);

	__builtin_prefetch(table_value_at(seg, table_home(seg, within)), 1);
}

int table_take(struct table *table, const struct table_key *key, void **value)
{
	struct table_spot at;
	int error = locate(table, key, &at);

	*value = NULL;
	if (error < 0)
		return error;
	bool taken = at.found && table_remove_locked(at.seg, at.i, value);
	lock_stripe_drop(at.seg->lock);
	BASE_KEEP(at.have);
	return taken ? 0 : -WEAKREF_ENOENT;
}

/* ---- making and emptying ---- */

/* A directory of one empty segment; NULL: no memory. */
static struct table_directory *directory_of_nothing(struct table *table)
{
	struct table_segment *seg = table_segment_new(table, table_slots_min(table), 0, 0, 0);
	struct table_directory *dir = seg == NULL ? NULL : table_directory_new(table, 0);

	if (dir == NULL)
		return NULL;
	atomic_store_explicit(&dir->entries[0], seg, memory_order_release);
	table_own(seg);
	return dir;
}

/* What tables take their `spread` from: odd numbers below 256 times which the hashes of keys at equal distances, of 1 and of 16 to 512, lie at
 * least as evenly as by chance, and in no order that another of these has (doc/design.md, Growth). */
static const uint8_t spreads[32] = {33, 39, 41, 49, 55, 65, 71, 79, 85, 87, 95, 109, 117, 119, 133, 137,
				    145, 155, 159, 167, 171, 177, 187, 197, 209, 217, 219, 223, 235, 247, 251, 255};

int table_init(struct table *table, const struct table_ops *ops, enum table_layout layout, bool strong_keys, table_equal_fn equal,
	       void *user)
{
	table->ops = ops;
	table->lock = lock_directory(base_mix((uintptr_t)table));
	table->scatter = (uint32_t)base_mix((uintptr_t)table) | 1;
	table->spread = spreads[base_mix((uintptr_t)table) >> 59];
	table->layout = (uint8_t)(layout == TABLE_PAIR && equal == NULL ? TABLE_BARE : layout);
	table->strong_keys = strong_keys || layout == TABLE_HASHED;
	table->equal = layout >= TABLE_HASHED ? equal : NULL;
	table->user = user;
	struct table_directory *dir = directory_of_nothing(table);
	if (dir == NULL)
		return -WEAKREF_ENOMEM;
	atomic_store_explicit(&table->directory, dir, memory_order_release);
	return 0;
}

static struct table_directory *replace_directory(struct table *table, struct table_directory *fresh)
{
	lock_directory_take(table->lock);
	struct table_directory *old = atomic_load_explicit(&table->directory, memory_order_relaxed);
	table_count_shape_locked(table);
	atomic_store_explicit(&table->directory, fresh, memory_order_release);
	atomic_store_explicit(&table->hand, 0, memory_order_relaxed);
	lock_directory_drop(table->lock);
	return old;
}

int table_clear(struct table *table)
{
	struct table_directory *fresh = directory_of_nothing(table);

	if (fresh == NULL)
		return -WEAKREF_ENOMEM;
	/* Nobody changes that one any more. */
	struct table_directory *old = replace_directory(table, fresh);
	for (uint64_t i = 0; i < UINT64_C(1) << old->depth;) {
		struct table_segment *seg = atomic_load_explicit(&old->entries[i], memory_order_relaxed);
		lock_stripe_take(seg->lock);
		table_retire_locked(seg);
		table_self_forget_locked(seg);
		lock_stripe_drop(seg->lock);
		i = table_segment_end(seg) >> old->shift;
	}
	return 0;
}
