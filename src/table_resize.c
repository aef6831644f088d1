/* SPDX-License-Identifier: MIT */
/*
 * table_resize: how segments are made, grow, split, shrink, and are swept of dead keys.
 *
 * A segment's slots are of one of the sizes below, chosen so that block, header and the byte that libgc adds fill whole pages
 * or size classes. One that is full is rebuilt: at the size that leaves a fifth free for what it holds now, the same, larger or
 * smaller; past the largest it is split. Where a split would leave nearly everything on one side (keys of equal hashes), the
 * segment grows beyond instead.
 *
 * Each change has three steps, so that nothing is allocated under the lock: plan (lock held), make (not held), apply (held; it
 * finds out whether the plan still fits, and if not, the caller, who looks anew in any case, plans again).
 */
#include "bytes.h"
#include "table_impl.h"

#define FLATTEN static inline __attribute__((always_inline))

/* Bytes of a block of slots. */
static const uint32_t slot_blocks[] = {
	208, 512, 1024, 2048,
#if !CHECKS /* there splits come early */
	4096, 8192, 12288, 16384, 24576, 32768, 45056, 65536,
#endif
};

#define BLOCKS (sizeof slot_blocks / sizeof slot_blocks[0])

/* An arena that would grow beyond this splits its segment instead, where it has SPLIT_MIN entries: no write moves much more than this. */
#define ARENA_SPLIT (CHECKS ? 4096 : 256 * 1024)
#define SPLIT_MIN 64
/* A split is worth it when the smaller side gets one in so many. */
#define LOPSIDED 16

struct part {
	uint32_t live;
	size_t bytes; /* of the keys, as the arena stores them */
};

struct plan {
	enum { PLAN_NOTHING, PLAN_IMPOSSIBLE, PLAN_ARENA, PLAN_REBUILD, PLAN_SPLIT } what;
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
	return (uint32_t)((uint64_t)n * 7 / 8);
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
	size_t block = ((size_t)want * 8 / 7 + 1) * stride * sizeof(uintptr_t) + sizeof(struct slots) + 4096;
	return slots_in(block & ~(size_t)4095, stride);
}

static uint32_t with_slack(uint32_t live)
{
	return live + live / 4 + 2;
}

/* As many slots as hold `live` entries and some more; no more than the largest, as long as that holds them. */
static uint32_t slots_for(uint32_t live, unsigned stride)
{
	uint32_t most = slots_in(slot_blocks[BLOCKS - 1], stride);

	if (with_slack(live) > limit_of(most) && live < limit_of(most))
		return most;
	return slots_for_many(with_slack(live), stride);
}

/* Bytes of a block that can be had for about this. */
static size_t block_size(size_t size)
{
	size_t unit = size < 2048 ? 16 : 4096;

	return (size + unit) / unit * unit - 1;
}

/* The size of an arena that must hold `need` bytes of `live` keys, in a segment that will have `limit` of them: one that will do
 * till then, if
 * that is within reason. */
static size_t arena_size_for(size_t need, uint32_t live, uint32_t limit)
{
	size_t size = live == 0 ? need : need / live * limit + limit;
	size_t least = need + need / 4, most = need * 2;

	size = size < least ? least : size > most ? most : size;
	return block_size(sizeof(struct table_arena) + size);
}

bool table_is_sparse(const struct table_segment *seg)
{
	return table_live(seg) < seg->limit / 8 && seg->n > slots_in(slot_blocks[1], seg->stride);
}

/* ---- making ---- */

struct table_directory *table_directory_new(const struct table *table, unsigned depth)
{
	size_t size = sizeof(struct table_directory) + ((size_t)1 << depth) * sizeof(struct table_segment *);
	struct table_directory *dir = table->ops->alloc(size);

	if (dir != NULL)
		dir->depth = depth;
	return dir;
}

static struct table_arena *arena_new(const struct table *table, size_t size)
{
	struct table_arena *arena = table->ops->alloc_leaf(size);

	if (arena != NULL)
		arena->capacity = (uint32_t)size;
	return arena;
}

/* gc_collect has seen values die in these slots. */
static void purge(struct slots *slots, void *owner)
{
	struct table_segment *seg = owner;
	struct table *table = seg->table;

	lock_take(table->lock);
	if (seg->retired) {
		/* Iterators may be in it: it stays as it is, and is not asked about again. */
		atomic_store_explicit(&slots->dead, 0, memory_order_relaxed);
		lock_drop(table->lock);
		return;
	}
	table_sweep_locked(seg, seg->n);
	if (table_is_sparse(seg))
		table_resize(table, seg, false, 0); /* drops the lock; without memory it stays as it is */
	else
		lock_drop(table->lock);
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
	seg->limit = limit_of(n);
	seg->base = base;
	seg->depth = (uint8_t)depth;
	seg->stride = (uint8_t)table_stride(table);
	atomic_store_explicit(&seg->arena, arena, memory_order_relaxed);
	seg->fill = arena == NULL ? 0 : sizeof(struct table_arena);
	slots->check = table_check_owner;
	ops->set_owner(slots, seg);
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

static uint32_t hash_at(const struct table_segment *seg, uint32_t i)
{
	return table_word_hash(seg->table, atomic_load_explicit(table_key_at(seg, i), memory_order_relaxed));
}

/* The side of a split that a hash falls on. */
static unsigned side_of(const struct table_segment *seg, uint32_t hash)
{
	return hash >> (31 - seg->depth) & 1;
}

static size_t key_bytes_at(const struct table_segment *seg, uint32_t i)
{
	size_t size;

	if (seg->table->layout != TABLE_BYTES)
		return 0;
	table_arena_key(table_arena_of(seg), (uint32_t)atomic_load_explicit(table_key_at(seg, i), memory_order_relaxed), &size);
	return table_key_room(size);
}

static void count_sides_locked(const struct table_segment *seg, struct part side[2])
{
	for (uint32_t i = 0; i < seg->n; i++) {
		if (!slots_is_value(table_peek(seg, i)))
			continue;
		struct part *part = &side[side_of(seg, hash_at(seg, i))];
		part->live++;
		part->bytes += key_bytes_at(seg, i);
	}
}

static void plan_part(struct plan *plan, unsigned k, const struct table_segment *seg, uint32_t n, struct part part, size_t room)
{
	plan->n[k] = n;
	if (seg->table->layout == TABLE_BYTES && part.bytes + room != 0)
		plan->arena_size[k] = arena_size_for(part.bytes + room, part.live + (room != 0), limit_of(n));
	if (plan->arena_size[k] > UINT32_MAX)
		plan->what = PLAN_IMPOSSIBLE;
}

static void plan_rebuild(struct plan *plan, const struct table_segment *seg, uint32_t n, size_t room)
{
	struct part all = {.live = table_live(seg), .bytes = seg->fill == 0 ? 0 : seg->fill - sizeof(struct table_arena) - seg->garbage};

	plan->what = PLAN_REBUILD;
	plan_part(plan, 0, seg, n, all, room);
}

/* False where a split is of no use. */
static bool plan_split(struct plan *plan, const struct table_segment *seg, size_t room)
{
	struct part side[2] = {{0}};

	if (seg->depth >= TABLE_DEPTH_MAX)
		return false;
	count_sides_locked(seg, side);
	uint32_t all = side[0].live + side[1].live, least = side[0].live < side[1].live ? side[0].live : side[1].live;
	if (least < all / LOPSIDED + 1)
		return false;
	plan->what = PLAN_SPLIT;
	for (unsigned k = 0; k < 2; k++)
		plan_part(plan, k, seg, slots_for(side[k].live, seg->stride), side[k], room);
	plan->directory_depth = atomic_load_explicit(&seg->table->directory, memory_order_relaxed)->depth;
	plan->deeper = seg->depth == plan->directory_depth;
	return true;
}

static void plan_arena(struct plan *plan, const struct table_segment *seg, size_t room)
{
	uint32_t live = table_live(seg);
	size_t need = seg->fill + room;

	if (seg->garbage > seg->fill / 3) {
		plan_rebuild(plan, seg, slots_for(live, seg->stride), room);
		return;
	}
	if (need > ARENA_SPLIT && live >= SPLIT_MIN && plan_split(plan, seg, room))
		return;
	plan->what = PLAN_ARENA;
	plan->arena_size[0] = arena_size_for(need, seg->used + 1, seg->limit);
	if (plan->arena_size[0] > UINT32_MAX)
		plan->what = PLAN_IMPOSSIBLE;
}

static void plan_make_locked(struct plan *plan, const struct table_segment *seg, bool full, size_t room)
{
	uint32_t live = table_live(seg);

	*plan = (struct plan){.what = PLAN_NOTHING};
	if (full) {
		uint32_t most = limit_of(slots_in(slot_blocks[BLOCKS - 1], seg->stride));
		if (with_slack(live) <= most || !plan_split(plan, seg, room))
			plan_rebuild(plan, seg, slots_for_many(with_slack(live), seg->stride), room);
	} else if (room != 0) {
		plan_arena(plan, seg, room);
	} else if (table_is_sparse(seg)) {
		plan_rebuild(plan, seg, slots_for(live, seg->stride), 0);
	}
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
		uint32_t its_base = k == 0 ? base : base | UINT32_C(1) << (31 - depth);
		plan->fresh[k] = table_segment_new(table, plan->n[k], deeper, its_base, plan->arena_size[k]);
		if (plan->fresh[k] == NULL)
			return false;
	}
	if (plan->deeper && (plan->directory = table_directory_new(table, plan->directory_depth + 1)) == NULL)
		return false;
	return true;
}

/* ---- applying ---- */

static void apply_arena_locked(struct plan *plan, struct table_segment *seg)
{
	struct table_arena *old = table_arena_of(seg);

	if (old != NULL && (old->capacity >= plan->arena->capacity || seg->fill > plan->arena->capacity))
		return;
	if (old == NULL)
		seg->fill = sizeof(struct table_arena);
	else
		memcpy(plan->arena->bytes, old->bytes, seg->fill - sizeof(struct table_arena));
	atomic_store_explicit(&seg->arena, plan->arena, memory_order_release);
}

/* Copies a key with its length and NUL into another arena: its key word there, or 0 where there is no room. */
static inline uint64_t move_key(struct table_segment *fresh, const struct table_arena *from, uint64_t word)
{
	struct table_arena *to = table_arena_of(fresh);
	const unsigned char *key = (const unsigned char *)from + (uint32_t)word;
	size_t size;

	table_arena_key(from, (uint32_t)word, &size);
	if (to == NULL || table_key_room(size) > to->capacity - fresh->fill)
		return 0;
	bytes_copy((unsigned char *)to + fresh->fill, key, table_key_room(size));
	word = (word & ~(uint64_t)UINT32_MAX) | fresh->fill;
	fresh->fill += (uint32_t)table_key_room(size);
	return word;
}

/* Puts an entry into a segment that nobody knows yet, where none has its key; live was counted before. False: there is no room. */
FLATTEN bool move_in(struct table_segment *fresh, const struct table_segment *old, uint32_t i, uint64_t word, uint32_t hash, uintptr_t raw,
		     enum table_layout layout)
{
	const unsigned stride = layout == TABLE_PAIR ? TABLE_STRIDE_PAIR : TABLE_STRIDE;
	uint32_t j = table_home(fresh, hash);

	if (fresh->used >= fresh->limit)
		return false;
	if (layout == TABLE_BYTES && (word = move_key(fresh, table_arena_of(old), word)) == 0)
		return false;
	_Atomic(uintptr_t) *slot = &fresh->slots->words[(size_t)j * stride];
	while (atomic_load_explicit(slot + TABLE_VALUE, memory_order_relaxed) != SLOTS_EMPTY) {
		slot += stride;
		if (++j == fresh->n) {
			j = 0;
			slot = fresh->slots->words;
		}
	}
	if (layout < TABLE_SELF && fresh->keys != NULL)
		atomic_store_explicit(&fresh->keys[j], atomic_load_explicit(&old->keys[i], memory_order_relaxed), memory_order_relaxed);
	atomic_store_explicit(slot, word, memory_order_relaxed);
	if (layout == TABLE_PAIR)
		atomic_store_explicit(slot + TABLE_PAYLOAD, atomic_load_explicit(table_payload_at(old, i), memory_order_relaxed),
				      memory_order_relaxed);
	atomic_store_explicit(slot + TABLE_VALUE, raw, memory_order_release);
	fresh->used++;
	return true;
}

/* Copies all values through a register, one by one: a collection may come at any point. Counts what went where. */
FLATTEN bool move_layout(const struct table_segment *old, struct table_segment *fresh[2], uint32_t stored[2], enum table_layout layout)
{
	const unsigned stride = layout == TABLE_PAIR ? TABLE_STRIDE_PAIR : TABLE_STRIDE;
	const unsigned shift = fresh[1] != NULL ? 31U - old->depth : 32;
	_Atomic(uintptr_t) *slot = old->slots->words;

	for (uint32_t i = 0; i < old->n; i++, slot += stride) {
		uintptr_t raw = atomic_load_explicit(slot + TABLE_VALUE, memory_order_relaxed);
		void *payload = NULL;
		if (!slots_is_value(raw))
			continue;
		void *value = epoch_load(slot + TABLE_VALUE, &raw);
		if (!slots_is_value(raw) || (layout == TABLE_PAIR && !table_self_payload_locked(old, i, &payload)))
			continue;
		uint64_t word = atomic_load_explicit(slot, memory_order_relaxed);
		uint32_t hash = table_fold(layout == TABLE_WORD ? base_mix(word) : word);
		unsigned k = (uint64_t)hash >> shift & 1;
		if (unlikely(!move_in(fresh[k], old, i, word, hash, raw, layout)))
			return false;
		stored[k]++;
		BASE_KEEP(value);
		BASE_KEEP(payload);
	}
	return true;
}

static bool move_each(const struct table_segment *old, struct table_segment *fresh[2], uint32_t stored[2])
{
	switch ((enum table_layout)old->table->layout) {
	case TABLE_BYTES:
		return move_layout(old, fresh, stored, TABLE_BYTES);
	case TABLE_WORD:
		return move_layout(old, fresh, stored, TABLE_WORD);
	case TABLE_HASHED:
		return move_layout(old, fresh, stored, TABLE_HASHED);
	case TABLE_SELF:
		return move_layout(old, fresh, stored, TABLE_SELF);
	default:
		return move_layout(old, fresh, stored, TABLE_PAIR);
	}
}

static bool move_all_locked(const struct table_segment *old, struct table_segment *fresh[2])
{
	unsigned parts = fresh[1] != NULL ? 2 : 1;
	uint32_t stored[2] = {0};

	/* Counted before they are stored: as many as there can be, and the rest taken back. */
	for (unsigned k = 0; k < parts; k++)
		atomic_fetch_add_explicit(&fresh[k]->slots->live, fresh[k]->n, memory_order_relaxed);
	bool fits = move_each(old, fresh, stored);
	for (unsigned k = 0; k < parts; k++)
		atomic_fetch_sub_explicit(&fresh[k]->slots->live, fresh[k]->n - stored[k], memory_order_relaxed);
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

/* Nobody's entries any more: what dies in it from now on is not asked about. */
void table_retire_locked(struct table_segment *seg)
{
	atomic_store_explicit(&seg->retired, true, memory_order_release);
	seg->table->ops->set_owner(seg->slots, NULL);
}

/* Puts the fresh segments into the old one's place. Retired first: an iterator that does not see it yet reads what is still true. */
static void publish_locked(struct table_directory *dir, struct table_segment *old, struct table_segment *fresh[2])
{
	uint64_t count = UINT64_C(1) << (dir->depth - old->depth), first = (uint64_t)old->base >> (32 - dir->depth);

	table_retire_locked(old);
	/* Downwards: see table_len. */
	for (uint64_t i = count; i-- > 0;)
		atomic_store_explicit(&dir->entries[first + i], fresh[1] != NULL && i >= count / 2 ? fresh[1] : fresh[0],
				      memory_order_release);
}

static void apply_segments_locked(struct plan *plan, struct table *table, struct table_segment *old)
{
	struct table_directory *dir = atomic_load_explicit(&table->directory, memory_order_relaxed);
	bool deeper = plan->what == PLAN_SPLIT && old->depth == dir->depth;

	if (deeper && (plan->directory == NULL || plan->directory->depth != dir->depth + 1))
		return;
	if (!move_all_locked(old, plan->fresh))
		return;
	if (deeper) {
		double_directory_locked(dir, plan->directory);
		publish_locked(plan->directory, old, plan->fresh);
		atomic_store_explicit(&table->directory, plan->directory, memory_order_release);
	} else {
		publish_locked(dir, old, plan->fresh);
	}
	table_self_forget_locked(old);
}

int table_resize(struct table *table, struct table_segment *seg, bool full, size_t room)
{
	struct plan plan;

	lock_check_held(table->lock);
	plan_make_locked(&plan, seg, full, room);
	lock_drop(table->lock);
	if (plan.what == PLAN_NOTHING)
		return 0;
	if (!plan_allocate(&plan, table, seg->depth, seg->base))
		return -WEAKREF_ENOMEM;
	lock_take(table->lock);
	if (!seg->retired) {
		if (plan.what == PLAN_ARENA)
			apply_arena_locked(&plan, seg);
		else
			apply_segments_locked(&plan, table, seg);
	}
	lock_drop(table->lock);
	return 0;
}
