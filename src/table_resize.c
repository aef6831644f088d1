/* SPDX-License-Identifier: MIT */
/*
 * table_resize: how segments are made, grow, split, shrink, and are swept of dead keys.
 *
 * A segment's slots fill a block of the sizes below, chosen so that block, header and the byte that libgc adds fill whole pages or size
 * classes. One that is full is rebuilt: at the size that leaves a fifth free for what it holds now, if that is no more than it has; else at
 * twice the size, but not beyond the largest; past that it is split. Where a split would leave nearly everything on one side (keys of equal
 * hashes), the segment grows beyond instead.
 *
 * What a split makes is half full where slots are small: then each entry is moved once for each time that the table doubles, and takes 1.44
 * slots on average, by what may be used of them. Where slots are large it is two thirds full, and rebuilt once before it is split again: 2.4
 * moves, 1.2 slots. Where each entry has a key in the arena besides, both by turns, so that moves and memory are in between.
 *
 * How large the largest is depends on the segment's place among the positions: these spread evenly, so segments of one size would all be full
 * at the same time, and a table three quarters empty a moment later.
 *
 * A rebuild leaves keys where they are: the fresh segment goes on with the old one's arena, as nobody appends to that any more. Where much
 * of it is garbage, and in a split, the keys are copied.
 *
 * Each change has three steps, so that nothing is allocated under the lock: plan (lock held), make (not held), apply (held; it
 * finds out whether the plan still fits, and if not, the caller, who looks anew in any case, plans again).
 */
#include "table_impl.h"

#define FLATTEN static inline __attribute__((always_inline))

/* Bytes of a block of slots: one of these, or whole pages. */
static const uint32_t slot_blocks[] = {208, 512, 1024, 2048, 4096};

#define BLOCKS (sizeof slot_blocks / sizeof slot_blocks[0])
#define PAGE ((size_t)4096)

/* The largest, in pages, and how many smaller ones there are as largest of other segments. */
#define MOST_PAGES 16
#define MOST_SIZES_LOG 3

/* Slots that are read between two looks at the epoch. */
#define BATCH 16

/* Keys up to this size are moved as one piece. */
#define KEY_BLOCK TABLE_ARENA_SLACK

/* An arena that would grow beyond this splits its segment instead, where it has SPLIT_MIN entries: no write moves much more than this. */
#define ARENA_SPLIT (CHECKS ? 4096 : 256 * 1024)
#define SPLIT_MIN 64
/* A split is worth it when the smaller side gets one in so many. */
#define LOPSIDED 16
/* Or when one of so many in a row is, of which it is the first. */
#define AHEAD 3
/* How many entries a split looks at first: one in so many. Not a multiple of a group's slots. */
#define SAMPLE 7

/* So many of a position's bits choose the lock of a table's segment. */
#define LOCKS_LOG 4

struct part {
	uint32_t live;
	size_t bytes; /* of the keys, as the arena stores them */
};

struct plan {
	enum { PLAN_NOTHING, PLAN_IMPOSSIBLE, PLAN_ARENA, PLAN_REBUILD, PLAN_SPLIT } what;
	bool exact; /* bytes are counted, not guessed */
	bool share; /* PLAN_REBUILD: the arena stays */
	uint32_t n[2];
	size_t arena_size[2];
	bool deeper; /* the directory needs one bit more */
	unsigned directory_depth;
	/* What was made. */
	struct table_arena *arena;
	struct table_segment *fresh[2];
	struct table_directory *directory;
};

/* ---- sizes ---- */

static uint32_t limit_of(uint32_t n)
{
	return (uint32_t)((uint64_t)n * 15 / 16);
}

static uint32_t slots_in(size_t block, unsigned stride)
{
	return (uint32_t)((block - 1 - sizeof(struct slots)) / (stride * sizeof(uintptr_t))) / TABLE_GROUP * TABLE_GROUP;
}

uint32_t table_slots_min(const struct table *table)
{
	return slots_in(slot_blocks[0], table_stride(table));
}

/* As many slots as hold `want` entries, of any size. */
static uint32_t slots_for_many(uint32_t want, unsigned stride)
{
	for (size_t k = 0; k < BLOCKS; k++)
		if (limit_of(slots_in(slot_blocks[k], stride)) >= want)
			return slots_in(slot_blocks[k], stride);
	size_t block = (size_t)want * stride * sizeof(uintptr_t) / PAGE * PAGE + PAGE;
	while (limit_of(slots_in(block, stride)) < want)
		block += PAGE;
	return slots_in(block, stride);
}

/* The most slots of a segment that can be split. */
static uint32_t slots_most(uint32_t base, unsigned stride)
{
	size_t block = CHECKS ? PAGE / 2 : (MOST_PAGES - (base >> (32 - MOST_SIZES_LOG))) * PAGE;

	return slots_in(block, stride);
}

/* As many slots as hold `live` entries and some more; no more than the largest, as long as that holds them, and that rather than one
 * nearly as large. Where it does not, as many as hold them: the next one splits the segment. Half of them are left free, so that the segment
 * need not be rebuilt before it is split, if an entry's slot is all that it takes; of an entry with a key in the arena in every second
 * segment. */
static uint32_t slots_for(const struct table *table, uint32_t live, uint32_t base)
{
	bool light = table_stride(table) == TABLE_STRIDE && !table->strong_keys && (table->layout != TABLE_BYTES || (base >> 28 & 1) == 0);
	unsigned stride = table_stride(table);
	uint32_t most = slots_most(base, stride), want = live + (light ? live : live / 8 * 3) + 2;

	if (live >= limit_of(most))
		return slots_for_many(live + 1, stride);
	return want > limit_of(most) / 8 * 7 ? most : slots_for_many(want, stride);
}

/* As many slots as a segment gets that is rebuilt for another reason than that it holds too many: no more than it has. */
static uint32_t slots_again(const struct table_segment *seg, uint32_t live)
{
	uint32_t want = live + live / 4 + 2;

	return want > seg->limit ? seg->n : slots_for_many(want, seg->stride);
}

/* As many slots as a segment gets that is full. */
static uint32_t slots_after(uint32_t live, uint32_t base, unsigned stride)
{
	uint32_t most = slots_most(base, stride);

	return live * 2 > limit_of(most) / 8 * 7 ? most : slots_for_many(live * 2, stride);
}

/* Bytes of a block that can be had for about this. */
static size_t block_size(size_t size)
{
	size_t unit = size < 2048 ? 16 : PAGE;

	return (size + unit) / unit * unit - 1;
}

/* The size of an arena that must hold `need` bytes of `live` keys, in a segment that will have `limit` of them: one that will do
 * till then, if that is within reason. */
static size_t arena_size_for(size_t need, uint32_t live, uint32_t limit)
{
	size_t size = live == 0 ? need : (size_t)((uint64_t)need * limit / live);
	size_t least = need + need / 8, most = need < PAGE ? need * 2 : need + need / 4;

	size = size < least ? least : size > most ? most : size;
	return block_size(sizeof(struct table_arena) + size + TABLE_ARENA_SLACK);
}

/* ---- making ---- */

struct table_directory *table_directory_new(const struct table *table, unsigned depth)
{
	size_t size = sizeof(struct table_directory) + ((size_t)1 << depth) * sizeof(struct table_segment *);
	struct table_directory *dir = table->ops->alloc(size);

	if (dir == NULL)
		return NULL;
	dir->depth = depth;
	dir->shift = 32 - depth;
	return dir;
}

static struct table_arena *arena_new(const struct table *table, size_t size)
{
	struct table_arena *arena = table->ops->alloc_leaf(size);

	if (arena == NULL)
		return NULL;
	memset(arena->none, 255, sizeof arena->none);
	arena->capacity = (uint32_t)(size - TABLE_ARENA_SLACK);
	return arena;
}

/* gc_collect has seen values die in these slots. */
static void purge(struct slots *slots, void *owner)
{
	struct table_segment *seg = owner;
	struct table *table = seg->table;

	lock_stripe_take(seg->lock);
	if (seg->retired) {
		/* Iterators may be in it: it stays as it is, and is not asked about again. */
		atomic_store_explicit(&slots->dead, 0, memory_order_relaxed);
		lock_stripe_drop(seg->lock);
		return;
	}
	table_sweep_locked(seg, seg->n);
	if (table_is_sparse(seg))
		table_resize(table, seg, false, 0); /* drops the lock; without memory it stays as it is */
	else
		lock_stripe_drop(seg->lock);
}

struct table_segment *table_segment_new(struct table *table, uint32_t n, unsigned depth, uint32_t base, size_t arena_size)
{
	const struct table_ops *ops = table->ops;
	struct slots *slots = ops->slots_new(n, table_stride(table), TABLE_VALUE, purge);
	_Atomic(void *) *keys = NULL;
	struct table_arena *arena = NULL;

	if (slots == NULL)
		return NULL;
	if (table->strong_keys && (keys = ops->alloc((size_t)n * sizeof *keys)) == NULL)
		return NULL;
	if (arena_size != 0 && (arena = arena_new(table, arena_size)) == NULL)
		return NULL;
	struct table_segment *seg = ops->alloc(sizeof *seg);
	if (seg == NULL)
		return NULL;
	seg->table = table;
	seg->slots = slots;
	seg->keys = keys;
	seg->n = n;
	seg->groups = n / TABLE_GROUP;
	seg->limit = limit_of(n);
	seg->thin = n > slots_in(slot_blocks[1], table_stride(table)) ? seg->limit / 8 : 0;
	seg->base = base;
	seg->depth = (uint8_t)depth;
	seg->known = table_has_runs(table, (enum table_layout)table->layout) ? 0 : seg->depth;
	seg->stride = (uint8_t)table_stride(table);
	seg->lock = lock_stripe(base_mix((uintptr_t)table) + (base >> (32 - LOCKS_LOG)));
	atomic_store_explicit(&seg->arena, arena, memory_order_relaxed);
	seg->fill = arena == NULL ? 0 : sizeof(struct table_arena);
	slots->check = table_check_owner;
	return seg;
}

/* ---- sweeping ---- */

void table_sweep_locked(struct table_segment *seg, uint32_t steps)
{
	struct slots *slots = seg->slots;

	if (table_is_self(seg->table)) {
		/* No keys stay behind. */
		atomic_store_explicit(&slots->dead, 0, memory_order_relaxed);
		return;
	}
	for (; steps > 0 && atomic_load_explicit(&slots->dead, memory_order_relaxed) != 0; steps--) {
		uint32_t i = seg->hand;
		seg->hand = i + 1 == seg->n ? 0 : i + 1;
		if (table_peek(seg, i) != SLOTS_VACANT ||
		    table_is_erased(seg, i, atomic_load_explicit(table_key_at(seg, i), memory_order_relaxed)))
			continue;
		table_erase_locked(seg, i);
		atomic_fetch_sub_explicit(&slots->dead, 1, memory_order_relaxed);
	}
}

/* ---- planning ---- */

static uint32_t base_of_side(uint32_t base, unsigned depth, unsigned side)
{
	return base | (uint32_t)side << (31 - depth);
}

static uint32_t position_at(const struct table_segment *seg, uint32_t i)
{
	const struct table *table = seg->table;
	uint64_t word = atomic_load_explicit(table_key_at(seg, i), memory_order_relaxed);
	const void *weak = (const void *)(table_peek(seg, i) & ~EPOCH_TAG);

	return table_position(table, table_slot_part(table, (enum table_layout)table->layout, word, weak));
}

/* The side of a split that a position falls on. */
static unsigned side_of(const struct table_segment *seg, uint32_t position)
{
	return position >> (31 - seg->depth) & 1;
}

/* The bytes of a key that is in the arena, with all that stands there; of none, 0. */
static uint32_t key_bytes(const struct table_arena *arena, uint64_t word)
{
	size_t size;

	if ((uint32_t)word == 0)
		return 0;
	table_arena_key(arena, (uint32_t)word, &size);
	return (uint32_t)table_key_room(size);
}

/* Bytes of the keys in use. */
static size_t bytes_in_use(const struct table_segment *seg)
{
	return seg->fill == 0 ? 0 : seg->fill - sizeof(struct table_arena) - seg->garbage;
}

/* How many entries go where, and how many bytes of keys. If that need not be exact: by a sample, with a sixteenth more of bytes. */
static void count_sides_locked(const struct table_segment *seg, struct part side[2], bool exact)
{
	bool bytes = exact && seg->table->layout == TABLE_BYTES;

	for (uint32_t i = 0; i < seg->n; i += exact ? 1 : SAMPLE) {
		if (!slots_is_value(table_peek(seg, i)))
			continue;
		struct part *part = &side[side_of(seg, position_at(seg, i))];
		part->live++;
		if (bytes)
			part->bytes += key_bytes(table_arena_of(seg), atomic_load_explicit(table_key_at(seg, i), memory_order_relaxed));
	}
	if (exact)
		return;
	uint64_t seen = side[0].live + side[1].live, live = table_live(seg), used = bytes_in_use(seg);
	for (unsigned k = 0; seen != 0 && k < 2; k++) {
		side[k].bytes = (size_t)(used * side[k].live / seen + used / 16);
		side[k].live = (uint32_t)(live * side[k].live / seen);
	}
}

static bool is_lopsided(uint32_t a, uint32_t b)
{
	return (a < b ? a : b) < (a + b) / LOPSIDED + 1;
}

/* Whether one of the next splits leaves less than nearly everything on one side: a few runs may all be on one side of the first, while
 * keys of one hash stay together. */
static bool divides_soon_locked(const struct table_segment *seg)
{
	uint32_t in[1 << AHEAD] = {0}, live = 0, most = 0;

	for (uint32_t i = 0; i < seg->n; i++) {
		if (!slots_is_value(table_peek(seg, i)))
			continue;
		uint32_t *those = &in[(uint32_t)(position_at(seg, i) << seg->depth) >> (32 - AHEAD)];
		most = ++*those > most ? *those : most;
		live++;
	}
	return !is_lopsided(most, live - most);
}

static void plan_part(struct plan *plan, unsigned k, const struct table_segment *seg, uint32_t n, struct part part, size_t room)
{
	plan->n[k] = n;
	if (seg->table->layout == TABLE_BYTES && !plan->share && part.bytes + room != 0)
		plan->arena_size[k] = arena_size_for(part.bytes + room, part.live + (room != 0), limit_of(n));
	if (plan->arena_size[k] > UINT32_MAX)
		plan->what = PLAN_IMPOSSIBLE;
}

/* The arena stays where little of it is garbage, or becomes so. */
static void plan_rebuild(struct plan *plan, const struct table_segment *seg, uint32_t n, size_t room)
{
	struct part all = {.live = table_live(seg), .bytes = bytes_in_use(seg)};

	plan->what = PLAN_REBUILD;
	plan->share = n >= seg->n && seg->garbage <= seg->fill / 8 &&
		      atomic_load_explicit(&seg->slots->dead, memory_order_relaxed) <= seg->used / 8;
	plan_part(plan, 0, seg, n, all, room);
}

/* False where a split is of no use. */
static bool plan_split(struct plan *plan, const struct table_segment *seg, size_t room)
{
	struct part side[2] = {{0}};

	if (seg->depth >= TABLE_DEPTH_MAX)
		return false;
	plan->exact |= seg->n < SPLIT_MIN * SAMPLE;
	count_sides_locked(seg, side, plan->exact);
	if (!plan->exact && is_lopsided(side[0].live, side[1].live)) {
		plan->exact = true;
		memset(side, 0, sizeof side);
		count_sides_locked(seg, side, true);
	}
	if (is_lopsided(side[0].live, side[1].live) && !divides_soon_locked(seg))
		return false;
	plan->what = PLAN_SPLIT;
	for (unsigned k = 0; k < 2; k++)
		plan_part(plan, k, seg, slots_for(seg->table, side[k].live, base_of_side(seg->base, seg->depth, k)), side[k], room);
	plan->directory_depth = atomic_load_explicit(&seg->table->directory, memory_order_acquire)->depth;
	plan->deeper = seg->depth == plan->directory_depth;
	return true;
}

static void plan_arena(struct plan *plan, const struct table_segment *seg, size_t room)
{
	uint32_t live = table_live(seg);
	size_t need = seg->fill + room;

	if (seg->garbage > seg->fill / 3) {
		plan_rebuild(plan, seg, slots_again(seg, live), room);
		return;
	}
	if (need > ARENA_SPLIT && live >= SPLIT_MIN && plan_split(plan, seg, room))
		return;
	plan->what = PLAN_ARENA;
	plan->arena_size[0] = arena_size_for(need, seg->used + 1, seg->limit);
	if (plan->arena_size[0] > UINT32_MAX)
		plan->what = PLAN_IMPOSSIBLE;
}

static void plan_full(struct plan *plan, const struct table_segment *seg, size_t room)
{
	uint32_t live = table_live(seg), n = seg->n;

	if (live < seg->limit / 5 * 4)
		n = slots_again(seg, live);
	else if (n < slots_most(seg->base, seg->stride))
		n = slots_after(live, seg->base, seg->stride);
	else if (plan_split(plan, seg, room))
		return;
	else
		n = slots_for_many(live + live / 2, seg->stride);
	plan_rebuild(plan, seg, n, room);
}

static void plan_make_locked(struct plan *plan, const struct table_segment *seg, bool full, size_t room)
{
	if (full)
		plan_full(plan, seg, room);
	else if (room != 0)
		plan_arena(plan, seg, room);
	else if (table_is_sparse(seg))
		plan_rebuild(plan, seg, slots_for(seg->table, table_live(seg), seg->base), 0);
}

/* ---- making what was planned ---- */

static bool plan_allocate(struct plan *plan, struct table *table, unsigned depth, uint32_t base)
{
	unsigned parts = plan->what == PLAN_SPLIT ? 2 : plan->what == PLAN_REBUILD ? 1 : 0;

	if (plan->what == PLAN_IMPOSSIBLE)
		return false;
	if (plan->what == PLAN_ARENA && (plan->arena = arena_new(table, plan->arena_size[0])) == NULL)
		return false;
	for (unsigned k = 0; k < parts; k++) {
		unsigned deeper = depth + (parts == 2);
		uint32_t its_base = parts == 2 ? base_of_side(base, depth, k) : base;
		plan->fresh[k] = table_segment_new(table, plan->n[k], deeper, its_base, plan->arena_size[k]);
		if (plan->fresh[k] == NULL)
			return false;
	}
	if (plan->deeper && (plan->directory = table_directory_new(table, plan->directory_depth + 1)) == NULL)
		return false;
	return true;
}

/* ---- applying ---- */

/* False, here and below, where the plan does not fit any more, or never did. */
static bool apply_arena_locked(struct plan *plan, struct table_segment *seg)
{
	struct table_arena *old = table_arena_of(seg);

	if (old != NULL && (old->capacity >= plan->arena->capacity || seg->fill > plan->arena->capacity))
		return false;
	if (old == NULL)
		seg->fill = sizeof(struct table_arena);
	else
		memcpy(plan->arena->bytes, old->bytes, seg->fill - sizeof(struct table_arena));
	atomic_store_explicit(&seg->arena, plan->arena, memory_order_release);
	return true;
}

/* Values, and payloads, on their way. Here they are roots: both lie on the stack as what they are, without tag. */
struct batch {
	uintptr_t raw[BATCH];
	void *value[BATCH];
	uintptr_t payload[BATCH];
};

/* Where entries go: what changes there, at hand. */
struct target {
	struct table_segment *seg;
	_Atomic(uintptr_t) *words;
	_Atomic(uintptr_t) *end;
	unsigned char *arena; /* NULL: keys stay where they are */
	uint32_t fill, capacity;
	uint32_t used, limit;
	uint64_t groups;
	unsigned known;
};

FLATTEN unsigned payload_word(enum table_layout layout)
{
	return layout == TABLE_BARE ? TABLE_BARE_PAYLOAD : TABLE_PAYLOAD;
}

FLATTEN uint32_t hash_of(uint64_t word, const void *value, enum table_layout layout)
{
	return table_fold(layout == TABLE_WORD ? table_number_word(word) : layout == TABLE_BARE ? table_number_word((uintptr_t)value) : word);
}

/* Reads some slots, all at one moment: if the epoch moved meanwhile, one by one. */
FLATTEN void batch_load(struct batch *batch, const struct table_segment *old, uint32_t first, uint32_t count, enum table_layout layout)
{
	const unsigned stride = layout == TABLE_PAIR ? TABLE_STRIDE_PAIR : TABLE_STRIDE;
	_Atomic(uintptr_t) *slot = &old->slots->words[(size_t)first * stride];
	uint64_t before = atomic_load_explicit(&epoch_now, memory_order_acquire);

	for (uint32_t k = 0; k < count; k++, slot += stride) {
		batch->raw[k] = atomic_load_explicit(slot + TABLE_VALUE, memory_order_acquire);
		batch->value[k] = (void *)(batch->raw[k] & ~EPOCH_TAG);
		if (layout >= TABLE_PAIR)
			batch->payload[k] = atomic_load_explicit(slot + payload_word(layout), memory_order_acquire);
	}
	BASE_KEEP(batch);
	if (likely((before & 1) == 0 && atomic_load_explicit(&epoch_now, memory_order_relaxed) == before))
		return;
	for (uint32_t k = 0; k < count; k++) {
		if (layout >= TABLE_PAIR)
			batch->raw[k] = slots_load(old->slots, first + k, &batch->value[k], &batch->payload[k]);
		else
			batch->value[k] = epoch_load(table_value_at(old, first + k), &batch->raw[k]);
	}
	BASE_KEEP(batch);
}

/* Copies a key with its length and NUL into another arena: its key word there, or 0 where there is no room. */
FLATTEN uint64_t move_key(struct target *to, const struct table_arena *from, uint64_t word)
{
	uint32_t offset = (uint32_t)word, fill = to->fill, bytes = key_bytes(from, word);
	unsigned char *p = to->arena + fill;
	const unsigned char *key = (const unsigned char *)from + offset;

	if (unlikely(bytes > to->capacity - fill))
		return 0;
	/* What is copied beyond a short key is overwritten by the next one, or never looked at; the arenas have room for it. */
	if (likely(bytes <= KEY_BLOCK))
		memcpy(p, key, KEY_BLOCK);
	else
		memcpy(p, key, bytes);
	to->fill = fill + bytes;
	return (word & ~(uint64_t)UINT32_MAX) | fill;
}

/* The empty slot that ends the way of a key. */
FLATTEN _Atomic(uintptr_t) *place_for(const struct target *to, uint32_t within, unsigned stride)
{
	uint32_t home = (uint32_t)((uint32_t)(within << to->known) * to->groups >> 32) * TABLE_GROUP;
	_Atomic(uintptr_t) *slot = &to->words[(size_t)home * stride];

	while (atomic_load_explicit(slot + TABLE_VALUE, memory_order_relaxed) != SLOTS_EMPTY)
		if (unlikely((slot += stride) == to->end))
			slot = to->words;
	return slot;
}

/* Puts an entry into a segment that nobody knows yet, where none has its key; live was counted before. False: there is no room. */
FLATTEN bool move_in(struct target *to, const struct table_segment *old, uint32_t i, uint64_t word, uint32_t within, const struct batch *batch,
		     uint32_t k, enum table_layout layout)
{
	const unsigned stride = layout == TABLE_PAIR ? TABLE_STRIDE_PAIR : TABLE_STRIDE;
	struct table_segment *fresh = to->seg;

	if (unlikely(to->used >= to->limit))
		return false;
	if (layout == TABLE_BYTES && to->arena != NULL && unlikely((word = move_key(to, table_arena_of(old), word)) == 0))
		return false;
	_Atomic(uintptr_t) *slot = place_for(to, within, stride);
	if ((layout == TABLE_WORD || layout == TABLE_HASHED) && fresh->keys != NULL)
		atomic_store_explicit(&fresh->keys[(size_t)(slot - to->words) / stride], atomic_load_explicit(&old->keys[i], memory_order_relaxed), memory_order_relaxed);
	if (layout != TABLE_BARE)
		atomic_store_explicit(slot, word, memory_order_relaxed);
	if (layout >= TABLE_PAIR)
		atomic_store_explicit(slot + payload_word(layout), batch->payload[k], memory_order_relaxed);
	atomic_store_explicit(slot + TABLE_VALUE, batch->raw[k], memory_order_release);
	to->used++;
	return true;
}

/* Copies all values, some at a time: a collection may come at any point. *stale counts bytes of keys that stayed behind. */
FLATTEN bool move_layout(const struct table_segment *old, struct target to[2], uint32_t *stale, enum table_layout layout)
{
	const unsigned stride = layout == TABLE_PAIR ? TABLE_STRIDE_PAIR : TABLE_STRIDE;
	const unsigned shift = to[1].seg != NULL ? 31U - old->depth : 32;
	const struct table *table = old->table;
	_Atomic(uintptr_t) *slot = old->slots->words;
	struct batch batch;
	bool fits = true;

	memset(&batch, 0, sizeof batch);
	for (uint32_t i = 0; fits && i < old->n; i += BATCH) {
		uint32_t count = old->n - i < BATCH ? old->n - i : BATCH;
		batch_load(&batch, old, i, count, layout);
		for (uint32_t k = 0; fits && k < count; k++, slot += stride) {
			if (batch.raw[k] == SLOTS_EMPTY)
				continue;
			uint64_t word = atomic_load_explicit(slot, memory_order_relaxed);
			if (batch.raw[k] != SLOTS_VACANT) {
				uint32_t position = table_position(table, table_slot_part(table, layout, word, batch.value[k]));
				uint32_t within = table_within(table, layout, hash_of(word, batch.value[k], layout), position);
				fits = move_in(&to[(uint64_t)position >> shift & 1], old, i + k, word, within, &batch, k, layout);
			} else if (layout == TABLE_BYTES) {
				*stale += key_bytes(table_arena_of(old), word);
			}
		}
		BASE_KEEP(&batch);
	}
	/* Nothing is left on the stack that would keep it alive. */
	memset(&batch, 0, sizeof batch);
	BASE_KEEP(&batch);
	return fits;
}

static bool move_each(const struct table_segment *old, struct target to[2], uint32_t *stale)
{
	switch ((enum table_layout)old->table->layout) {
	case TABLE_BYTES:
		return move_layout(old, to, stale, TABLE_BYTES);
	case TABLE_WORD:
		return move_layout(old, to, stale, TABLE_WORD);
	case TABLE_HASHED:
		return move_layout(old, to, stale, TABLE_HASHED);
	case TABLE_SELF:
		return move_layout(old, to, stale, TABLE_SELF);
	case TABLE_PAIR:
		return move_layout(old, to, stale, TABLE_PAIR);
	default:
		return move_layout(old, to, stale, TABLE_BARE);
	}
}

static struct target target_of(struct table_segment *fresh, bool share)
{
	struct target to = {.seg = fresh};

	if (fresh == NULL)
		return to;
	struct table_arena *arena = table_arena_of(fresh);
	to.words = fresh->slots->words;
	to.end = to.words + (size_t)fresh->n * fresh->stride;
	to.groups = fresh->groups;
	to.known = fresh->known;
	to.limit = fresh->limit;
	if (!share && fresh->table->layout == TABLE_BYTES) {
		/* Without an arena there is no room for any key. */
		to.arena = arena == NULL ? (unsigned char *)fresh : (unsigned char *)arena;
		to.capacity = arena == NULL ? 0 : arena->capacity;
		to.fill = fresh->fill;
	}
	return to;
}

static bool move_all_locked(const struct plan *plan, const struct table_segment *old)
{
	struct target to[2] = {target_of(plan->fresh[0], plan->share), target_of(plan->fresh[1], plan->share)};
	unsigned parts = to[1].seg != NULL ? 2 : 1;
	uint32_t stale = 0;

	/* Counted before they are stored: as many as there can be, and the rest taken back. */
	for (unsigned k = 0; k < parts; k++)
		atomic_fetch_add_explicit(&to[k].seg->slots->live, to[k].seg->n, memory_order_relaxed);
	bool fits = move_each(old, to, &stale);
	for (unsigned k = 0; k < parts; k++) {
		struct table_segment *fresh = to[k].seg;
		atomic_fetch_sub_explicit(&fresh->slots->live, fresh->n - to[k].used, memory_order_relaxed);
		fresh->used = to[k].used;
		fresh->fill = plan->share ? old->fill : to[k].fill;
	}
	if (plan->share) {
		plan->fresh[0]->garbage = old->garbage + stale;
		atomic_store_explicit(&plan->fresh[0]->arena, table_arena_of(old), memory_order_relaxed);
	}
	return fits;
}

static void double_directory_locked(const struct table_directory *dir, struct table_directory *twice)
{
	for (uint64_t i = 0; i < UINT64_C(1) << dir->depth; i++) {
		struct table_segment *seg = atomic_load_explicit(&dir->entries[i], memory_order_relaxed);
		atomic_store_explicit(&twice->entries[2 * i], seg, memory_order_relaxed);
		atomic_store_explicit(&twice->entries[2 * i + 1], seg, memory_order_relaxed);
	}
}

/* From now on it is asked for what died in it. Not before: one that was filled and then given up, since it did not fit, has entries too. */
void table_own(struct table_segment *seg)
{
	seg->table->ops->set_owner(seg->slots, seg);
}

/* Nobody's entries any more: what dies in it from now on is not asked about. */
void table_retire_locked(struct table_segment *seg)
{
	seg->retired = true;
	seg->table->ops->set_owner(seg->slots, NULL);
}

/* Puts the fresh segments into the old one's place. */
static void publish_locked(struct table_directory *dir, struct table_segment *old, struct table_segment *fresh[2])
{
	uint64_t count = UINT64_C(1) << (dir->depth - old->depth), first = (uint64_t)old->base >> (32 - dir->depth);

	table_retire_locked(old);
	for (unsigned k = 0; k < 2 && fresh[k] != NULL; k++)
		table_own(fresh[k]);
	/* Downwards: see table_len. */
	for (uint64_t i = count; i-- > 0;)
		atomic_store_explicit(&dir->entries[first + i], fresh[1] != NULL && i >= count / 2 ? fresh[1] : fresh[0],
				      memory_order_release);
}

/* A guess was wrong: a split of no use. */
static bool is_useless(const struct plan *plan)
{
	return plan->what == PLAN_SPLIT && !plan->exact && is_lopsided(plan->fresh[0]->used, plan->fresh[1]->used);
}

/* Not where the table is being cleared. */
static bool stands_in(const struct table_directory *dir, const struct table_segment *seg)
{
	return seg->depth <= dir->depth &&
	       atomic_load_explicit(&dir->entries[(uint64_t)seg->base >> dir->shift], memory_order_relaxed) == seg;
}

/* With both locks. */
static bool enter_locked(struct plan *plan, struct table *table, struct table_segment *old)
{
	struct table_directory *dir = atomic_load_explicit(&table->directory, memory_order_relaxed);
	bool deeper = plan->what == PLAN_SPLIT && old->depth == dir->depth;

	if (!stands_in(dir, old) || (deeper && (plan->directory == NULL || plan->directory->depth != dir->depth + 1)))
		return false;
	table_count_shape_locked(table);
	if (deeper) {
		double_directory_locked(dir, plan->directory);
		publish_locked(plan->directory, old, plan->fresh);
		atomic_store_explicit(&table->directory, plan->directory, memory_order_release);
	} else {
		publish_locked(dir, old, plan->fresh);
	}
	return true;
}

static bool apply_segments_locked(struct plan *plan, struct table *table, struct table_segment *old)
{
	if (!move_all_locked(plan, old) || is_useless(plan))
		return false;
	lock_directory_take(table->lock);
	bool entered = enter_locked(plan, table, old);
	lock_directory_drop(table->lock);
	if (entered)
		table_self_forget_locked(old);
	return entered;
}

/* With the lock, drops it: 0, -ENOMEM, or 1 where what was made does not fit. */
static int resize(struct plan *plan, struct table *table, struct table_segment *seg, bool full, size_t room)
{
	bool done = true;

	plan_make_locked(plan, seg, full, room);
	lock_stripe_drop(seg->lock);
	if (plan->what == PLAN_NOTHING)
		return 0;
	if (!plan_allocate(plan, table, seg->depth, seg->base))
		return -WEAKREF_ENOMEM;
	lock_stripe_take(seg->lock);
	if (!seg->retired)
		done = plan->what == PLAN_ARENA ? apply_arena_locked(plan, seg) : apply_segments_locked(plan, table, seg);
	lock_stripe_drop(seg->lock);
	return done ? 0 : 1;
}

int table_resize(struct table *table, struct table_segment *seg, bool full, size_t room)
{
	struct plan guess = {.exact = false}, exact = {.exact = true};

	lock_check_held_stripe();
	int result = resize(&guess, table, seg, full, room);
	if (likely(result <= 0))
		return result;
	lock_stripe_take(seg->lock);
	if (seg->retired) {
		lock_stripe_drop(seg->lock);
		return 0;
	}
	result = resize(&exact, table, seg, full, room);
	return result < 0 ? result : 0;
}
