/* SPDX-License-Identifier: MIT */
/*
 * exceptions: a program in C++ whose functions throw in the middle of the library's calls. What was thrown comes out of the call, and the
 * library is as fit for use as before. check_exceptions.sh compiles and runs it.
 */
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <weakref/weakref.h>

namespace
{

struct thrown {
};

/* Callbacks may run in the midst of all that allocates, so they are told apart from what the calls under test call themselves. */
enum { NOWHERE, IN_FUNCTION, IN_CALLBACK } armed;

void maybe_throw()
{
	if (armed == IN_FUNCTION) {
		armed = NOWHERE;
		throw thrown();
	}
}

void maybe_throw_in_callback()
{
	if (armed == IN_CALLBACK) {
		armed = NOWHERE;
		throw thrown();
	}
}

void require(bool good, const char *what, int line)
{
	if (!good) {
		std::fprintf(stderr, "exceptions.cc:%d: %s does not hold\n", line, what);
		std::exit(1);
	}
}

#define REQUIRE(condition) require((condition), #condition, __LINE__)

/* Whether something comes out of `call`, when the first of the program's functions that it leads to throws. */
template <class Call> bool comes_out(Call call)
{
	try {
		call();
	} catch (const thrown &) {
		return true;
	}
	armed = NOWHERE;
	return false;
}

template <class Call> bool throws(Call call)
{
	armed = IN_FUNCTION;
	return comes_out(call);
}

template <class Call> bool callback_throws(Call call)
{
	armed = IN_CALLBACK;
	return comes_out(call);
}

int hash(const void *key, uint64_t *out, void *)
{
	maybe_throw();
	*out = weakref_hash_bytes(key, sizeof(int), 0);
	return 0;
}

int equal(const void *a, const void *b, void *)
{
	return std::memcmp(a, b, sizeof(int)) == 0;
}

gc_type make_type()
{
	gc_type type = {};

	type.name = "thing";
	type.size = sizeof(int);
	type.flags = WEAKREF_TYPE_LEAF;
	type.destroy = [](void *) {
		maybe_throw_in_callback();
		return 0;
	};
	type.len = [](void *, size_t *out) {
		maybe_throw();
		*out = 1;
		return 0;
	};
	return type;
}

const gc_type thing_type = make_type();

void *thing()
{
	void *made = gc_new(&thing_type);

	REQUIRE(made != nullptr);
	return made;
}

int give_thing(const void *, void **value, void *)
{
	maybe_throw();
	*value = thing();
	return 0;
}

int count(void *counter)
{
	++*static_cast<int *>(counter);
	maybe_throw_in_callback();
	return 0;
}

int count_reference(weakref_ref *, void *counter)
{
	return count(counter);
}

__attribute__((noinline)) void make_mortal(weakref_ref **refs, int n, int *called, int *finalized)
{
	for (int i = 0; i < n; i++) {
		void *made = thing();

		refs[i] = weakref_ref_new(made, count_reference, called);
		REQUIRE(refs[i] != nullptr && weakref_finalize_new(made, count, finalized) != nullptr);
	}
}

__attribute__((noinline)) void overwrite_dead_frames()
{
	volatile char stack[65536];

	for (size_t i = 0; i < sizeof stack; i++)
		stack[i] = 0;
}

/* R290: the operation that it came out of has not been done, and can be done again. */
void containers()
{
	auto key = static_cast<int *>(gc_alloc_leaf(sizeof(int)));
	void *value = thing();
	auto dict = weakref_valuedict_new_custom(hash, equal, nullptr);
	auto interner = weakref_interner_new_custom(hash, equal, nullptr);
	auto proxy = weakref_proxy_new(value, nullptr, nullptr);
	size_t n;

	*key = 1;
	REQUIRE(throws([=] { weakref_valuedict_set(dict, key, value); }));
	REQUIRE(weakref_valuedict_len(dict) == 0 && weakref_valuedict_set(dict, key, value) == 0);
	REQUIRE(throws([=] { weakref_valuedict_get(dict, key); }));
	REQUIRE(weakref_valuedict_get(dict, key) == value);
	REQUIRE(throws([=] { weakref_interner_intern(interner, key); }));
	REQUIRE(weakref_interner_len(interner) == 0 && weakref_interner_intern(interner, key) == key);
	REQUIRE(throws([&] { gc_len(proxy, &n); }));
	REQUIRE(gc_len(proxy, &n) == 0);
	WEAKREF_KEEP(value);
}

/* R290: of what is ready, each runs once, those that throw included; the rest stays ready. */
void callbacks(weakref_delivery delivery)
{
	const int n = 100;
	/* Static: an object that a word left over keeps may die in what comes later. */
	static weakref_ref *refs[3][n];
	static int called[3], finalized[3];
	int caught = 0;

	REQUIRE(gc_set_delivery(WEAKREF_DELIVER_MANUAL) == 0);
	make_mortal(refs[delivery], n, &called[delivery], &finalized[delivery]);
	overwrite_dead_frames();
	caught += callback_throws([=] {
		gc_set_delivery(delivery);
		gc_collect();
	});
	REQUIRE(caught == (delivery == WEAKREF_DELIVER_AT_ALLOCATION) && gc_callbacks_pending());
	while (gc_callbacks_pending())
		caught += callback_throws([] { gc_run_callbacks(); });
	REQUIRE(gc_collect() >= 0 && gc_run_callbacks() >= 0);
	REQUIRE(called[delivery] >= n * 9 / 10 && called[delivery] <= n && called[delivery] == finalized[delivery]);
	REQUIRE(caught >= called[delivery]);
	REQUIRE(gc_set_delivery(WEAKREF_DELIVER_AT_ALLOCATION) == 0);
}

void executor()
{
	auto executor = weakref_executor_new("tasks");
	int done = 0;

	for (int i = 0; i < 2; i++)
		REQUIRE(weakref_executor_submit(executor, [](void *counter) { count(counter); }, &done) == 0);
	REQUIRE(callback_throws([=] { weakref_executor_run(executor); }));
	REQUIRE(done == 1 && weakref_executor_run(executor) == 1 && done == 2);
}

/* R290: a load that throws has failed, and the key is free. */
void cache()
{
	auto builder = weakref_cache_builder_new(WEAKREF_KEY_STRING);
	weakref_cache_loader loader = {};
	weakref_cache_stats stats;
	void *value;

	loader.load = give_thing;
	REQUIRE(weakref_cache_builder_loader(builder, &loader) == 0);
	REQUIRE(weakref_cache_builder_spec(builder, "maximumWeight=2,recordStats") == 0);
	REQUIRE(weakref_cache_builder_weigher(builder, [](const void *, void *, void *) -> int64_t {
			maybe_throw();
			return 1;
		}, nullptr) == 0);
	REQUIRE(weakref_cache_builder_removal_listener(builder, [](const void *, void *, weakref_cause, void *) {
			maybe_throw();
			return 0;
		}, nullptr) == 0);
	auto cache = weakref_cache_builder_build(builder);
	REQUIRE(throws([&] { weakref_cache_get(cache, "a", &value); }));
	REQUIRE(weakref_cache_len(cache) == 0 && weakref_cache_get(cache, "a", &value) == 0);
	REQUIRE(throws([&] { weakref_cache_put(cache, "a", cache); }));
	REQUIRE(weakref_cache_get_if_present(cache, "a") == value);
	REQUIRE(throws([&] { weakref_cache_refresh(cache, "a"); }));
	REQUIRE(weakref_cache_refresh(cache, "a") == 0);
	REQUIRE(throws([&] { weakref_cache_invalidate(cache, "a"); }));
	REQUIRE(weakref_cache_len(cache) == 0);
	static const char *const more[] = {"b", "c", "d", "e"};
	for (auto key : more)
		REQUIRE(weakref_cache_get(cache, key, &value) == 0);
	REQUIRE(weakref_cache_len(cache) == 2);
	REQUIRE(weakref_cache_get_stats(cache, &stats) == 0 && stats.load_failures == 2);
}

/* R290: the books of a pool are right, wherever it was. */
void pool()
{
	weakref_pool_options options = {};
	weakref_pool_stats stats;
	void *resource;

	options.alloc = [](void **out, void *) { return give_thing(nullptr, out, nullptr); };
	options.check = [](void *, void *) {
		maybe_throw();
		return 1;
	};
	options.dealloc = [](void *, void *) {
		maybe_throw();
		return 0;
	};
	options.hardmax = 1;
	auto pool = weakref_pool_new(&options);
	REQUIRE(throws([&] { weakref_pool_pop(pool, &resource); }));
	REQUIRE(weakref_pool_pop(pool, &resource) == 0 && weakref_pool_push(pool, resource) == 0);
	REQUIRE(throws([&] { weakref_pool_pop(pool, &resource); }));
	REQUIRE(weakref_pool_len(pool) == 1);
	{
		WEAKREF_POOL_SCOPED(lease) = WEAKREF_POOL_LEASE(pool);
		REQUIRE(lease != nullptr && weakref_pool_len(pool) == 0);
	}
	try {
		WEAKREF_POOL_WITH(pool, [](void *, void *) -> int { throw thrown(); }, nullptr);
		REQUIRE(false);
	} catch (const thrown &) {
	}
	REQUIRE(weakref_pool_len(pool) == 1);
	REQUIRE(throws([=] { weakref_pool_clear(pool); }));
	REQUIRE(weakref_pool_get_stats(pool, &stats) == 0);
	REQUIRE(stats.idle == 0 && stats.leased == 0 && stats.moving == 0 && weakref_pool_close_wait(pool, 10) == 0);
}

} // namespace

int main()
{
	REQUIRE(gc_init() == 0);
	containers();
	callbacks(WEAKREF_DELIVER_AT_ALLOCATION);
	callbacks(WEAKREF_DELIVER_MANUAL);
	executor();
	cache();
	pool();
	REQUIRE(gc_collect() >= 0);
	return 0;
}
