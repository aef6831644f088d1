/* SPDX-License-Identifier: MIT */
/*
 * typemodule: a module with a type of its own, loaded and unloaded by check_module.
 */
#include "weakref/object.h"

struct thing {
	uint64_t id;
	void *other;
};

static int thing_hash(void *obj, uint64_t *out)
{
	*out = ((struct thing *)obj)->id;
	return 0;
}

static const gc_type thing_type = {.name = "thing", .size = sizeof(struct thing), .hash = thing_hash};

void *typemodule_new(uint64_t id);

WEAKREF_API void *typemodule_new(uint64_t id)
{
	struct thing *thing = gc_new(&thing_type);

	if (thing != NULL)
		thing->id = id;
	return thing;
}
