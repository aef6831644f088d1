/* SPDX-License-Identifier: MIT */
#include "weakref/checks.h"

#include <stdlib.h>

#include "checks.h"

static _Atomic long collect_every;
static _Atomic unsigned long collect_calls;
static _Atomic long fail_in; /* the allocation that fails is the one that brings this from 1 to 0; 0: none will */
static _Atomic bool clock_frozen;
static _Atomic uint64_t clock_now;
static _Atomic(struct checks_validator *) validators;

static long env_number(const char *name)
{
	const char *text = getenv(name);

	return text == NULL ? 0 : strtol(text, NULL, 10);
}

void checks_init(void)
{
	if (!CHECKS)
		return;
	long every = env_number("WEAKREF_COLLECT_EVERY");
	long fail = env_number("WEAKREF_FAIL_ALLOCATION");
	atomic_store(&collect_every, every > 0 ? every : 0);
	atomic_store(&fail_in, fail > 0 ? fail : 0);
}

bool checks_allocation_fails_slow(void)
{
	long left = atomic_load(&fail_in);

	while (left > 0)
		if (atomic_compare_exchange_weak(&fail_in, &left, left - 1))
			return left == 1;
	return false;
}

bool checks_collect_now_slow(void)
{
	long every = atomic_load(&collect_every);

	return every > 0 && (atomic_fetch_add(&collect_calls, 1) + 1) % (unsigned long)every == 0;
}

bool checks_clock(uint64_t *now)
{
	if (!atomic_load(&clock_frozen))
		return false;
	*now = atomic_load(&clock_now);
	return true;
}

void checks_add_validator(struct checks_validator *validator)
{
	validator->next = atomic_load(&validators);
	while (!atomic_compare_exchange_weak(&validators, &validator->next, validator))
		;
}

size_t checks_validate(void)
{
	size_t n = 0;

	for (struct checks_validator *v = atomic_load(&validators); v != NULL; v = v->next)
		n += v->validate();
	return n;
}

bool weakref_checks_enabled(void)
{
	return CHECKS;
}

long weakref_checks_collect_every(unsigned long n)
{
	return CHECKS ? atomic_exchange(&collect_every, (long)n) : -WEAKREF_ENOTSUP;
}

long weakref_checks_fail_allocation(unsigned long n)
{
	return CHECKS ? atomic_exchange(&fail_in, (long)n) : -WEAKREF_ENOTSUP;
}

int weakref_checks_clock_advance(uint64_t ns)
{
	if (!CHECKS)
		return -WEAKREF_ENOTSUP;
	if (!atomic_load(&clock_frozen)) {
		atomic_store(&clock_now, base_now());
		atomic_store(&clock_frozen, true);
	}
	atomic_fetch_add(&clock_now, ns);
	return 0;
}
