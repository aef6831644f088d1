/* SPDX-License-Identifier: MIT */
/*
 * cache_builder: options of a cache, one by one or by a string, and the cache made of them.
 *
 * An option is refused where it was set before, where its value makes no sense, and where it is against another that was set. What needs another
 * option is refused when the cache is built, since that may come later. The spec string is tried on a copy of the builder, which
 * takes its place when all of it is good.
 *
 * No locks: a builder is for one thread at a time.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cache.h"
#include "weakref/object.h"

#define BUILDER_SIGNATURE UINT64_C(0x72646c6975626b77)

enum option {
	OPTION_WEAK_KEYS,
	OPTION_WEAK_VALUES,
	OPTION_SOFT_VALUES,
	OPTION_MAXIMUM_SIZE,
	OPTION_MAXIMUM_WEIGHT,
	OPTION_WEIGHER,
	OPTION_CAPACITY,
	OPTION_AFTER_WRITE,
	OPTION_AFTER_ACCESS,
	OPTION_EXPIRY,
	OPTION_REFRESH,
	OPTION_LOADER,
	OPTION_EXECUTOR,
	OPTION_LISTENER,
	OPTION_RECORDS,
	OPTION_TICKER,
	OPTION_LEVEL,
	OPTIONS
};

#define BIT(option) (1U << (option))

/* Names, what each excludes, and what its value must be; NULL where there is none. */
static const struct {
	const char *name;
	unsigned excludes;
	const char *wants;
} options[OPTIONS] = {
	[OPTION_WEAK_KEYS] = {"weakKeys", BIT(OPTION_LEVEL), NULL},
	[OPTION_WEAK_VALUES] = {"weakValues", BIT(OPTION_SOFT_VALUES), NULL},
	[OPTION_SOFT_VALUES] = {"softValues", BIT(OPTION_WEAK_VALUES), NULL},
	[OPTION_MAXIMUM_SIZE] = {"maximumSize", BIT(OPTION_MAXIMUM_WEIGHT) | BIT(OPTION_WEIGHER), "0 or more"},
	[OPTION_MAXIMUM_WEIGHT] = {"maximumWeight", BIT(OPTION_MAXIMUM_SIZE), "0 or more"},
	[OPTION_WEIGHER] = {"weigher", BIT(OPTION_MAXIMUM_SIZE), "a function"},
	[OPTION_CAPACITY] = {"initialCapacity", 0, "0 to 2^40"},
	[OPTION_AFTER_WRITE] = {"expireAfterWrite", BIT(OPTION_EXPIRY), "a time of 0 or more"},
	[OPTION_AFTER_ACCESS] = {"expireAfterAccess", BIT(OPTION_EXPIRY), "a time of 0 or more"},
	[OPTION_EXPIRY] = {"expireAfter", BIT(OPTION_AFTER_WRITE) | BIT(OPTION_AFTER_ACCESS), "its function create"},
	[OPTION_REFRESH] = {"refreshAfterWrite", 0, "a time above 0"},
	[OPTION_LOADER] = {"loader", 0, "its function load"},
	[OPTION_EXECUTOR] = {"executor", 0, "a function"},
	[OPTION_LISTENER] = {"removalListener", 0, "a function"},
	[OPTION_RECORDS] = {"recordStats", 0, NULL},
	[OPTION_TICKER] = {"ticker", 0, "a function"},
	[OPTION_LEVEL] = {"secondLevel", BIT(OPTION_WEAK_KEYS), "its function get, and remove where there is put"},
};

struct weakref_cache_builder {
	uint64_t signature;
	unsigned set;
	struct cache_config config;
	char error[160];
};

/* ---- refusing ---- */

static bool is_builder(const weakref_cache_builder *b)
{
	return b != NULL && (uintptr_t)b % _Alignof(struct weakref_cache_builder) == 0 && b->signature == BUILDER_SIGNATURE;
}

WEAKREF_PRINTF(2, 3) static int refuse(weakref_cache_builder *b, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(b->error, sizeof b->error, format, args);
	va_end(args);
	return -WEAKREF_EINVAL;
}

/* Takes note of an option, if it may be set. 0 or -EINVAL. */
static int set(weakref_cache_builder *b, enum option option, bool good)
{
	if (!is_builder(b))
		return -WEAKREF_EINVAL;
	if (!good)
		return refuse(b, "%s wants %s", options[option].name, options[option].wants);
	if ((b->set & BIT(option)) != 0)
		return refuse(b, "%s was set already", options[option].name);
	unsigned against = b->set & options[option].excludes;
	if (against != 0)
		return refuse(b, "%s and %s exclude each other", options[option].name, options[__builtin_ctz(against)].name);
	b->set |= BIT(option);
	return 0;
}

const char *weakref_cache_builder_error(const weakref_cache_builder *b)
{
	return is_builder(b) ? b->error : "not a builder";
}

/* ---- beginning ---- */

static weakref_cache_builder *make(enum weakref_key_kind kind, weakref_hash_fn hash, weakref_equal_fn equal, void *user)
{
	int error = heap_thread_check();

	if (error < 0)
		return base_null((enum weakref_error) - error);
	weakref_cache_builder *b = heap_alloc(sizeof *b);
	if (b == NULL)
		return NULL;
	b->config.kind = kind;
	b->config.hash = hash;
	b->config.equal = equal;
	b->config.key_user = user;
	b->config.maximum = UINT64_MAX;
	for (int i = 0; i < 3; i++)
		b->config.times[i] = CACHE_NEVER;
	b->signature = BUILDER_SIGNATURE;
	return b;
}

weakref_cache_builder *weakref_cache_builder_new(enum weakref_key_kind kind)
{
	if ((unsigned)kind >= WEAKREF_KEY_CUSTOM)
		return base_null(WEAKREF_EINVAL);
	return make(kind, NULL, NULL, NULL);
}

weakref_cache_builder *weakref_cache_builder_new_custom(weakref_hash_fn hash, weakref_equal_fn equal, void *user)
{
	if (hash == NULL || equal == NULL)
		return base_null(WEAKREF_EINVAL);
	return make(WEAKREF_KEY_CUSTOM, hash, equal, user);
}

/* ---- options ---- */

int weakref_cache_builder_weak_keys(weakref_cache_builder *b)
{
	if (is_builder(b) && b->config.kind != WEAKREF_KEY_POINTER)
		return refuse(b, "weakKeys: keys must be of kind WEAKREF_KEY_POINTER");
	int error = set(b, OPTION_WEAK_KEYS, true);
	if (error == 0)
		b->config.weak_keys = true;
	return error;
}

int weakref_cache_builder_weak_values(weakref_cache_builder *b)
{
	int error = set(b, OPTION_WEAK_VALUES, true);

	if (error == 0)
		b->config.weak_values = true;
	return error;
}

int weakref_cache_builder_soft_values(weakref_cache_builder *b)
{
	int error = set(b, OPTION_SOFT_VALUES, true);

	if (error == 0)
		b->config.soft_values = true;
	return error;
}

int weakref_cache_builder_maximum_size(weakref_cache_builder *b, int64_t size)
{
	int error = set(b, OPTION_MAXIMUM_SIZE, size >= 0);

	if (error == 0) {
		b->config.bounded = true;
		b->config.maximum = (uint64_t)size;
	}
	return error;
}

int weakref_cache_builder_maximum_weight(weakref_cache_builder *b, int64_t weight)
{
	int error = set(b, OPTION_MAXIMUM_WEIGHT, weight >= 0);

	if (error == 0) {
		b->config.bounded = b->config.weighted = true;
		b->config.maximum = (uint64_t)weight;
	}
	return error;
}

int weakref_cache_builder_weigher(weakref_cache_builder *b, weakref_cache_weigher_fn weigher, void *user)
{
	int error = set(b, OPTION_WEIGHER, weigher != NULL);

	if (error == 0) {
		b->config.weigher = weigher;
		b->config.weigher_user = user;
	}
	return error;
}

int weakref_cache_builder_initial_capacity(weakref_cache_builder *b, int64_t n)
{
	int error = set(b, OPTION_CAPACITY, n >= 0 && n <= INT64_C(1) << 40);

	if (error == 0)
		b->config.capacity = (size_t)n;
	return error;
}

static int set_time(weakref_cache_builder *b, enum option option, enum weakref_cache_rule rule, double seconds)
{
	int error = set(b, option, rule == WEAKREF_CACHE_REFRESH ? seconds > 0 : seconds >= 0);

	if (error == 0) {
		b->config.times[rule] = cache_ns(seconds);
		b->config.ruled[rule] = true;
	}
	return error;
}

int weakref_cache_builder_expire_after_write(weakref_cache_builder *b, double seconds)
{
	return set_time(b, OPTION_AFTER_WRITE, WEAKREF_CACHE_AFTER_WRITE, seconds);
}

int weakref_cache_builder_expire_after_access(weakref_cache_builder *b, double seconds)
{
	return set_time(b, OPTION_AFTER_ACCESS, WEAKREF_CACHE_AFTER_ACCESS, seconds);
}

int weakref_cache_builder_refresh_after_write(weakref_cache_builder *b, double seconds)
{
	return set_time(b, OPTION_REFRESH, WEAKREF_CACHE_REFRESH, seconds);
}

int weakref_cache_builder_expire_after(weakref_cache_builder *b, const weakref_cache_expiry *expiry)
{
	int error = set(b, OPTION_EXPIRY, expiry != NULL && expiry->create != NULL);

	if (error == 0)
		b->config.expiry = *expiry;
	return error;
}

int weakref_cache_builder_loader(weakref_cache_builder *b, const weakref_cache_loader *loader)
{
	int error = set(b, OPTION_LOADER, loader != NULL && loader->load != NULL);

	if (error == 0)
		b->config.loader = *loader;
	return error;
}

int weakref_cache_builder_executor(weakref_cache_builder *b, weakref_cache_executor_fn executor, void *user)
{
	int error = set(b, OPTION_EXECUTOR, executor != NULL);

	if (error == 0) {
		b->config.executor = executor;
		b->config.executor_user = user;
	}
	return error;
}

int weakref_cache_builder_removal_listener(weakref_cache_builder *b, weakref_cache_listener_fn listener, void *user)
{
	int error = set(b, OPTION_LISTENER, listener != NULL);

	if (error == 0) {
		b->config.listener = listener;
		b->config.listener_user = user;
	}
	return error;
}

int weakref_cache_builder_record_stats(weakref_cache_builder *b)
{
	int error = set(b, OPTION_RECORDS, true);

	if (error == 0)
		b->config.records = true;
	return error;
}

int weakref_cache_builder_ticker(weakref_cache_builder *b, weakref_cache_ticker_fn ticker, void *user)
{
	int error = set(b, OPTION_TICKER, ticker != NULL);

	if (error == 0) {
		b->config.ticker = ticker;
		b->config.ticker_user = user;
	}
	return error;
}

int weakref_cache_builder_second_level(weakref_cache_builder *b, const weakref_cache_second_level *level)
{
	int error = set(b, OPTION_LEVEL, level != NULL && level->get != NULL && (level->put == NULL || level->remove != NULL));

	if (error == 0)
		b->config.level = *level;
	return error;
}

/* ---- the spec string ---- */

static const struct {
	const char *suffix;
	double seconds;
} units[] = {{"ns", 1e-9}, {"us", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};

static bool read_number(const char *text, int64_t *out)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*out = strtoll(text, &end, 10);
	return errno == 0 && *end == 0;
}

static bool read_time(const char *text, double *out)
{
	int64_t whole;
	char number[24];
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits >= sizeof number)
		return false;
	memcpy(number, text, digits);
	number[digits] = 0;
	if (!read_number(number, &whole))
		return false;
	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (strcmp(text + digits, units[i].suffix) == 0) {
			*out = (double)whole * units[i].seconds;
			return true;
		}
	return false;
}

/* One option, its name and value cut apart; value NULL where there is no `=`. */
static int set_by_name(weakref_cache_builder *b, const char *name, const char *value)
{
	static const struct {
		enum option option;
		int (*flag)(weakref_cache_builder *);
		int (*number)(weakref_cache_builder *, int64_t);
		int (*time)(weakref_cache_builder *, double);
	} known[] = {
		{OPTION_WEAK_KEYS, .flag = weakref_cache_builder_weak_keys},
		{OPTION_WEAK_VALUES, .flag = weakref_cache_builder_weak_values},
		{OPTION_SOFT_VALUES, .flag = weakref_cache_builder_soft_values},
		{OPTION_RECORDS, .flag = weakref_cache_builder_record_stats},
		{OPTION_MAXIMUM_SIZE, .number = weakref_cache_builder_maximum_size},
		{OPTION_MAXIMUM_WEIGHT, .number = weakref_cache_builder_maximum_weight},
		{OPTION_CAPACITY, .number = weakref_cache_builder_initial_capacity},
		{OPTION_AFTER_WRITE, .time = weakref_cache_builder_expire_after_write},
		{OPTION_AFTER_ACCESS, .time = weakref_cache_builder_expire_after_access},
		{OPTION_REFRESH, .time = weakref_cache_builder_refresh_after_write},
	};
	double seconds;
	int64_t number;
	size_t i = 0;

	while (i < sizeof known / sizeof *known && strcmp(options[known[i].option].name, name) != 0)
		i++;
	if (i == sizeof known / sizeof *known)
		return refuse(b, "%s: no such option", name);
	if (known[i].flag != NULL)
		return value == NULL ? known[i].flag(b) : refuse(b, "%s takes no value", name);
	if (value == NULL || *value == '\0')
		return refuse(b, "%s wants a value", name);
	if (known[i].number != NULL)
		return read_number(value, &number) ? known[i].number(b, number) : refuse(b, "%s: %s is no number", name, value);
	return read_time(value, &seconds) ? known[i].time(b, seconds)
					  : refuse(b, "%s: %s is no time: a number and one of ns us ms s m h d", name, value);
}

#define BLANKS " \t\n\r\f\v"

static char *trimmed(char *text)
{
	text += strspn(text, BLANKS);
	size_t n = strlen(text);
	while (n > 0 && strchr(BLANKS, text[n - 1]) != NULL)
		text[--n] = 0;
	return text;
}

static int set_all(weakref_cache_builder *b, char *text)
{
	char *rest = text, *one;
	int error = 0;

	while (error == 0 && (one = strsep(&rest, ",")) != NULL) {
		char *value = strchr(one, '=');
		if (value != NULL)
			*value++ = 0;
		one = trimmed(one);
		error = *one == 0 ? refuse(b, "an option is missing between commas")
				  : set_by_name(b, one, value == NULL ? NULL : trimmed(value));
	}
	return error;
}

int weakref_cache_builder_spec(weakref_cache_builder *b, const char *spec)
{
	weakref_cache_builder copy;
	char text[512];

	if (!is_builder(b))
		return -WEAKREF_EINVAL;
	if (spec == NULL || strlen(spec) >= sizeof text)
		return refuse(b, spec == NULL ? "no spec" : "the spec is too long");
	if (spec[strspn(spec, BLANKS)] == 0)
		return 0;
	memcpy(text, spec, strlen(spec) + 1);
	copy = *b;
	int error = set_all(&copy, text);
	if (error == 0)
		*b = copy;
	else
		memcpy(b->error, copy.error, sizeof b->error);
	return error;
}

/* ---- the cache ---- */

static int cache_repr(void *obj, char *buf, size_t size)
{
	return snprintf(buf, size, "<cache at %p; %zu entries>", obj, weakref_cache_len(obj));
}

static int cache_type_len(void *obj, size_t *out)
{
	*out = weakref_cache_len(obj);
	return 0;
}

static const gc_type cache_type = {
	.name = "cache",
	.size = sizeof(struct weakref_cache),
	.repr = cache_repr,
	.len = cache_type_len,
};

/* What needs another option. */
static int check_whole(weakref_cache_builder *b)
{
	static const struct {
		enum option option, needs;
	} rules[] = {
		{OPTION_WEIGHER, OPTION_MAXIMUM_WEIGHT}, {OPTION_MAXIMUM_WEIGHT, OPTION_WEIGHER}, {OPTION_REFRESH, OPTION_LOADER},
		{OPTION_EXECUTOR, OPTION_REFRESH},	 {OPTION_LEVEL, OPTION_LOADER},
	};

	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
		if ((b->set & BIT(rules[i].option)) != 0 && (b->set & BIT(rules[i].needs)) == 0)
			return refuse(b, "%s needs %s", options[rules[i].option].name, options[rules[i].needs].name);
	return 0;
}

/* One for each processor and one to spare, a power of two. The system is asked once: that takes longer than all else of making a
 * cache. */
static uint32_t stripes_wanted(void)
{
	static _Atomic uint32_t wanted;
	uint32_t stripes = atomic_load_explicit(&wanted, memory_order_relaxed);

	if (likely(stripes != 0))
		return stripes;
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	for (stripes = 4; stripes < 64 && stripes < n * 2;)
		stripes *= 2;
	atomic_store_explicit(&wanted, stripes, memory_order_relaxed);
	return stripes;
}

/* What is as large as it needs to be from the start. False: no memory. */
static bool make_parts(weakref_cache *cache)
{
	if (cache->recorded || cache->config.records) {
		cache->stripe_mask = stripes_wanted() - 1;
		cache->stripes = cache_stripes_new(cache->stripe_mask + 1);
		if (cache->stripes == NULL)
			return false;
	}
	if (cache->expires) {
		cache->wheel = heap_alloc_leaf(sizeof *cache->wheel);
		if (cache->wheel == NULL)
			return false;
		wheel_init(cache->wheel, cache_now(cache));
	}
	cache->map = cache_map_new(cache->config.capacity);
	return cache->map != NULL;
}

static int assemble(weakref_cache *cache, const struct cache_config *config)
{
	cache->config = *config;
	cache->lock = lock_word(base_mix((uintptr_t)cache));
	cache->eviction = lock_eviction(base_mix((uintptr_t)cache));
	cache->celled = config->weak_keys || config->weak_values;
	cache->recorded = config->bounded || config->soft_values;
	cache->expires =
		config->ruled[WEAKREF_CACHE_AFTER_WRITE] || config->ruled[WEAKREF_CACHE_AFTER_ACCESS] || config->expiry.create != NULL;
	cache->timed = cache->expires || config->ruled[WEAKREF_CACHE_REFRESH];
	cache->touched = cache->expires || config->soft_values;
	cache->accessed = config->ruled[WEAKREF_CACHE_AFTER_ACCESS];
	cache->busy = config->soft_values || config->records || config->ruled[WEAKREF_CACHE_REFRESH] || config->expiry.create != NULL;
	cache->strings = config->kind == WEAKREF_KEY_STRING;
	cache->bytes_at = cache->timed ? sizeof(struct cache_entry) : CACHE_ENTRY_SHORT;
	for (int i = 0; i < 3; i++)
		cache->times[i] = config->times[i];
	cache_set_slack(cache);
	cache->plain = !config->weak_keys && config->expiry.create == NULL && config->weigher == NULL && config->listener == NULL;
	cache->pace = config->bounded ? CACHE_PACE_EAGER : config->soft_values ? CACHE_PACE_CALM : CACHE_PACE_NONE;
	policy_init(&cache->policy, config->maximum);
	return make_parts(cache) ? 0 : -WEAKREF_ENOMEM;
}

weakref_cache *weakref_cache_builder_build(weakref_cache_builder *b)
{
	int error = heap_thread_check();

	if (error == 0)
		error = heap_weak_supported();
	if (error == 0 && !is_builder(b))
		error = -WEAKREF_EINVAL;
	if (error == 0)
		error = check_whole(b);
	if (error < 0)
		return base_null((enum weakref_error) - error);
	weakref_cache *cache = gc_new(&cache_type);
	if (cache == NULL)
		return NULL;
	error = assemble(cache, &b->config);
	cache->signature = CACHE_SIGNATURE;
	if (error == 0 && b->config.soft_values)
		error = cache_soft_add(cache);
	return error < 0 ? base_null((enum weakref_error) - error) : cache;
}
