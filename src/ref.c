/* SPDX-License-Identifier: MIT */
/*
 * ref: the public face of references. Lists and registries are in anchor.c, reading in epoch.h.
 */
#include "ref.h"

#include <errno.h>
#include <stdio.h>

#include "anchor.h"
#include "executor.h"
#include "heap.h"
#include "weakref/object.h"
#include "weakref/proxy.h"

/* ---- making ---- */

static void *data_of(const weakref_ref *ref)
{
	return (ref->flags & REF_EXECUTOR) != 0 ? ((struct ref_job *)ref->data)->data : ref->data;
}

static void callback_run(struct deliver_node *node)
{
	weakref_ref *ref = (weakref_ref *)((char *)node - offsetof(weakref_ref, node));
	int result = ref->callback(ref, data_of(ref));

	if (result < 0)
		deliver_failed(result, "reference callback", ref);
}

static NOINLINE void *block_find(const void *p, bool *foreign)
{
	struct heap_header *block = p == NULL ? NULL : heap_base(p);

	if (block == NULL)
		return NULL;
	enum heap_kind kind = heap_kind_of(block);
	*foreign = kind > HEAP_LEAF;
	if (*foreign)
		return block;
	heap_object_learn(block, kind);
	return block->type != NULL ? block : NULL;
}

void *ref_block_of(const void *p, bool *foreign)
{
	struct heap_header *block = heap_object_known(p);

	if (unlikely(block == NULL))
		return block_find(p, foreign);
	*foreign = false;
	return block;
}

static weakref_ref *ref_alloc(unsigned flags)
{
	weakref_ref *ref = (flags & REF_FULL) != 0 ? heap_alloc_refcall(sizeof *ref) : heap_alloc_ref();

	if (ref != NULL) {
		ref->flags = (uint8_t)flags;
		ref->signature = ref_signature(flags);
	}
	return ref;
}

/* What the reference keeps for its callback; false where there is no memory for it. */
static bool data_make(const weakref_ref_options *options, void **data)
{
	struct ref_job *job = NULL;

	*data = options->data;
	if (options->executor == NULL)
		return true;
	job = heap_alloc(sizeof *job);
	if (job == NULL)
		return false;
	*job = (struct ref_job){options->executor, options->data};
	*data = job;
	return true;
}

static weakref_ref *ref_make_new(void *obj, void *block, bool foreign, unsigned flags, const weakref_ref_options *options)
{
	void *data;
	weakref_ref *ref = data_make(options, &data) ? ref_alloc(flags) : NULL;

	if (ref == NULL)
		return NULL;
	ref->block = block;
	atomic_init(&ref->where, foreign ? REF_FOREIGN : 0);
	if ((flags & REF_FULL) != 0) {
		ref->node.run = callback_run;
		ref->data = data;
		ref->payload = options->payload;
		ref->callback = options->callback;
	}
	ref = anchor_attach(ref, obj);
	BASE_KEEP(obj);
	return ref != NULL ? ref : base_null(WEAKREF_ENOMEM);
}

/* The plain one, where it is easily found. */
static weakref_ref *find_plain(const void *obj, const void *block, bool foreign, unsigned flags)
{
	if ((flags & REF_INNER) != 0)
		return anchor_find_inner(obj, flags);
	return foreign ? NULL : anchor_find_first(obj, block, flags);
}

weakref_ref *ref_make(void *obj, unsigned flags, const weakref_ref_options *options)
{
	bool foreign = false;
	int error = heap_thread_check();

	if (error == 0)
		error = heap_weak_supported();
	if (error != 0)
		return base_null((enum weakref_error) - error);
	void *block = ref_block_of(obj, &foreign);
	if (block == NULL || (options->callback == NULL && (options->data != NULL || options->executor != NULL)) ||
	    (options->executor != NULL && !executor_is(options->executor)))
		return base_null(WEAKREF_EINVAL);
	if (options->callback != NULL || options->payload != NULL || options->distinct || options->is_long) {
		flags |= REF_FULL;
	} else {
		const char *begins = foreign ? block : (const char *)block + HEAP_HEADER;
		flags |= obj == begins ? 0 : REF_FULL | REF_INNER;
		weakref_ref *shared = find_plain(obj, block, foreign, flags);
		if (shared != NULL)
			return shared;
	}
	flags |= options->executor != NULL ? REF_EXECUTOR : 0;
	flags |= (options->distinct ? REF_DISTINCT : 0) | (options->is_long ? REF_LONG : 0);
	return ref_make_new(obj, block, foreign, flags, options);
}

/* What is made most: the shared one of an object of ours, which most often has none yet. */
static weakref_ref *make_plain(void *obj)
{
	static const weakref_ref_options plain;
	struct heap_header *block = heap_object_known(obj);

	if (unlikely(block == NULL || heap_weak_supported() != 0))
		return ref_make(obj, 0, &plain);
	if (block->anchor != 0) {
		weakref_ref *shared = anchor_find_first(obj, block, 0);
		if (shared != NULL)
			return shared;
	}
	weakref_ref *ref = ref_alloc(0);
	if (unlikely(ref == NULL))
		return NULL;
	ref->block = block;
	ref = anchor_attach_plain(ref, obj);
	BASE_KEEP(obj);
	return ref != NULL ? ref : base_null(WEAKREF_ENOMEM);
}

weakref_ref *weakref_ref_new(void *obj, weakref_callback callback, void *data)
{
	if (likely(callback == NULL && data == NULL))
		return make_plain(obj);
	return ref_make(obj, 0, &(weakref_ref_options){.callback = callback, .data = data});
}

weakref_ref *weakref_ref_new_with(void *obj, const weakref_ref_options *options)
{
	static const weakref_ref_options plain;

	return ref_make(obj, 0, options != NULL ? options : &plain);
}

/* ---- reading ---- */

static inline bool is_ref(const weakref_ref *ref)
{
	return ref != NULL && (uintptr_t)ref % _Alignof(weakref_ref) == 0 && (ref->signature == REF_SIGNATURE || ref->signature == REF_SIGNATURE_LONG);
}

const weakref_ref *ref_at(const void *p)
{
	if (p == NULL || heap_base(p) != p)
		return NULL;
	enum heap_kind kind = heap_kind_of(p);
	return (kind == HEAP_REF || kind == HEAP_REFCALL) && is_ref(p) ? p : NULL;
}

void *weakref_ref_get_slowly(const weakref_ref *ref)
{
	uintptr_t raw;

	if (unlikely(!is_ref(ref)))
		return NULL;
	if (unlikely(heap_thread_check() != 0))
		return base_null(WEAKREF_EPERM);
	return epoch_load(&ref->referent, &raw);
}

/* For who does not have it in line. */
void *weakref_ref_get(const weakref_ref *ref)
{
	return weakref_ref_get_slowly(ref);
}

int weakref_ref_read(const weakref_ref *ref, void **out)
{
	uintptr_t raw;
	int error = heap_thread_check();

	if (out == NULL || !is_ref(ref))
		return -WEAKREF_EINVAL;
	*out = NULL;
	if (error != 0)
		return error;
	*out = epoch_load(&ref->referent, &raw);
	return *out != NULL ? 0 : -WEAKREF_ESTALE;
}

weakref_callback weakref_ref_callback(const weakref_ref *ref, void **data)
{
	bool has = weakref_ref_get(ref) != NULL && (ref->flags & REF_FULL) != 0;

	if (data != NULL)
		*data = has ? data_of(ref) : NULL;
	return has ? ref->callback : NULL;
}

void *weakref_ref_payload(const weakref_ref *ref)
{
	return is_ref(ref) && (ref->flags & REF_FULL) != 0 ? ref->payload : NULL;
}

int weakref_ref_clear(weakref_ref *ref)
{
	int error = heap_thread_check();

	if (!is_ref(ref))
		return -WEAKREF_EINVAL;
	if (error != 0)
		return error;
	return anchor_detach(ref) ? 0 : -WEAKREF_ESTALE;
}

int weakref_ref_retarget(weakref_ref *ref, void *obj)
{
	bool foreign = false;
	int error = heap_thread_check();

	if (error != 0)
		return error;
	void *block = ref_block_of(obj, &foreign);
	if (!is_ref(ref) || block == NULL || ref_is_shared(ref->flags) || ((ref->flags & REF_PROXY) != 0 && weakref_is_proxy(obj)))
		return -WEAKREF_EINVAL;
	error = anchor_retarget(ref, obj, block, foreign);
	BASE_KEEP(obj);
	return error;
}

/* ---- comparing ---- */

static bool is_reference(const void *p)
{
	const weakref_ref *ref = ref_at(p);

	return ref != NULL && (ref->flags & REF_PROXY) == 0;
}

int weakref_ref_equal(const void *a, const void *b)
{
	int error = heap_thread_check();

	if (a == NULL || b == NULL)
		return -WEAKREF_EINVAL;
	if (error != 0)
		return error;
	if (a == b)
		return 1;
	if (!is_reference(a) || !is_reference(b))
		return 0;
	void *of_a = weakref_ref_get(a), *of_b = weakref_ref_get(b);
	return of_a != NULL && of_b != NULL ? gc_equal(of_a, of_b) : 0;
}

int weakref_ref_hash(const weakref_ref *ref, uint64_t *out)
{
	int error = heap_thread_check();
	uint64_t hash;

	if (!is_ref(ref) || out == NULL)
		return -WEAKREF_EINVAL;
	if (error != 0 || (ref->flags & REF_PROXY) != 0)
		return error != 0 ? error : -WEAKREF_ENOTSUP;
	if (anchor_hash((weakref_ref *)ref, out))
		return 0;
	void *obj = weakref_ref_get(ref);
	if (obj == NULL)
		return -WEAKREF_ESTALE;
	error = gc_hash(obj, &hash);
	if (error < 0)
		return error;
	anchor_hash_keep((weakref_ref *)ref, obj, hash);
	BASE_KEEP(obj);
	/* Of two at once the first one's is kept. */
	if (!anchor_hash((weakref_ref *)ref, out))
		*out = hash;
	return 0;
}

const char *ref_name_of(const void *obj)
{
	const gc_type *type = gc_type_of(obj);

	return type == NULL ? "block" : type->name == NULL ? "object" : type->name;
}

int weakref_ref_repr(const weakref_ref *ref, char *buf, size_t size)
{
	if (!is_ref(ref) || (buf == NULL && size != 0))
		return -WEAKREF_EINVAL;
	const char *what = (ref->flags & REF_PROXY) != 0 ? "weakproxy" : "weakref";
	void *obj = weakref_ref_get(ref);
	if (obj == NULL)
		return snprintf(buf, size, "<%s at %p; dead>", what, (const void *)ref);
	return snprintf(buf, size, "<%s at %p; to '%s' at %p>", what, (const void *)ref, ref_name_of(obj), obj);
}

/* ---- counting and listing ---- */

size_t weakref_getweakrefs(const void *obj, weakref_ref **out, size_t n)
{
	bool foreign;
	void *block = heap_thread_check() != 0 ? NULL : ref_block_of(obj, &foreign);

	return block == NULL ? 0 : anchor_list(block, out, out == NULL ? 0 : n);
}

size_t weakref_getweakrefcount(const void *obj)
{
	return weakref_getweakrefs(obj, NULL, 0);
}
