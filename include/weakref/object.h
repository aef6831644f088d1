/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/object.h
 * @brief Objects: typed blocks of the collected heap, and the generic operations on them.
 *
 * An object is what Python would call an instance: a payload of the size its `gc_type` names, preceded by a two-word header
 * that only the library reads. The pointer that a program holds points to the payload. Objects are freed by the collector;
 * there is no call to free one.
 *
 * Untyped memory comes from `gc_alloc` and `gc_alloc_leaf`; it, and any block that a host got from `GC_MALLOC` and its
 * family, is accepted wherever a weak reference, dictionary or set takes a referent ("foreign" blocks).
 *
 * Generic operations (`gc_repr`, `gc_hash`, `gc_getattr` …) work on an object through its type's slots, on a proxy through
 * the object that it stands for (see weakref/proxy.h), and answer -WEAKREF_ENOTSUP where a slot is empty; gc_error_detail then says
 * which. Keys, items, attributes' values and arguments are passed on as they are; the other operand of gc_equal, gc_compare, gc_operate
 * and gc_inplace may be a proxy as well.
 */
#ifndef WEAKREF_OBJECT_H
#define WEAKREF_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weakref/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Flags of a type. */
enum weakref_type_flags {
	/** The payload holds no pointers into the heap: the collector does not look into it. */
	WEAKREF_TYPE_LEAF = 1,
};

/** Operators, for gc_operate and gc_inplace. What they mean, and what their results are, is the type's affair. */
enum weakref_operator {
	WEAKREF_OP_ADD,
	WEAKREF_OP_SUBTRACT,
	WEAKREF_OP_MULTIPLY,
	WEAKREF_OP_MATMUL,
	WEAKREF_OP_DIVIDE,
	WEAKREF_OP_FLOORDIV,
	WEAKREF_OP_MODULO,
	WEAKREF_OP_POWER,
	WEAKREF_OP_LSHIFT,
	WEAKREF_OP_RSHIFT,
	WEAKREF_OP_AND,
	WEAKREF_OP_OR,
	WEAKREF_OP_XOR,
	WEAKREF_OP_DIVMOD,
	/** Those from here on have one operand, which is never changed in place: for gc_operate, with NULL for the other. */
	WEAKREF_OP_NEGATIVE,
	WEAKREF_OP_POSITIVE,
	WEAKREF_OP_ABSOLUTE,
	WEAKREF_OP_INVERT,
	/** The object as a whole number; as a floating one; and, where it is a whole number by its nature, as an index. */
	WEAKREF_OP_INT,
	WEAKREF_OP_FLOAT,
	WEAKREF_OP_INDEX,
};

/** What `iterate` calls for each item. Returns 0 to go on, anything else to stop; that value is what gc_iterate returns. */
typedef int (*gc_visit_fn)(void *item, void *user);

/**
 * A type. Usually a static const; it must outlive its objects (a type in a collected block is kept alive by them). Every slot
 * may be NULL. Slots run with no lock of the library held and may allocate, collect and call back into the library.
 *
 * equal, compare, operate, inplace and operate_right get two objects, of which the second may be of any type, or none at all for the last
 * three. -WEAKREF_ENOTSUP says that they do not know it, or do not know the operator: then the other's type is asked, as if this one had no
 * such slot.
 */
typedef struct gc_type {
	/** For messages and repr; NULL reads as "object". */
	const char *name;
	/** Bytes of payload; 0 is allowed and gives an object that has an identity only. */
	size_t size;
	/** Of weakref_type_flags. */
	unsigned flags;

	/** Like snprintf: writes at most `size` bytes with the NUL, returns the length it wanted, or a negative error. */
	int (*repr)(void *obj, char *buf, size_t size);
	/** Stores the hash, returns 0 or a negative error. Without it objects hash by identity. */
	int (*hash)(void *obj, uint64_t *out);
	/** 1 equal, 0 not, or a negative error. Without it objects are equal when they are the same. */
	int (*equal)(void *a, void *b);

	/**
	 * Runs once, after the object was found unreachable: every short reference to it already reads NULL, all that it points
	 * to is still intact. It may make the object reachable again (resurrect it); the destructor does not run a second time, unless
	 * gc_destroy_again asks for it. Or it runs before, by gc_destroy_now.
	 * A negative result goes to the unraisable handler. See gc_set_delivery for when and in which thread.
	 */
	int (*destroy)(void *obj);

	/** 0 and the value, -WEAKREF_ENOENT for an unknown name, or another negative error. */
	int (*getattr)(void *obj, const char *name, void **value);
	int (*setattr)(void *obj, const char *name, void *value);
	int (*delattr)(void *obj, const char *name);
	/** 0 or a negative error; `result` is never NULL. */
	int (*call)(void *obj, size_t argc, void **argv, void **result);
	int (*len)(void *obj, size_t *out);
	/** 1 true, 0 false, or a negative error. Without it, `len` decides; without both an object is true. */
	int (*truth)(void *obj);
	/** Calls visit for each item until it returns non-zero; returns that value, or 0, or a negative error. */
	int (*iterate)(void *obj, gc_visit_fn visit, void *user);
	/** The same from the last item to the first. */
	int (*iterate_reverse)(void *obj, gc_visit_fn visit, void *user);

	/** 0 and the item, or a negative error. What a key is, the type says: an object, a number, a slice. */
	int (*getitem)(void *obj, void *key, void **value);
	int (*setitem)(void *obj, void *key, void *value);
	int (*delitem)(void *obj, void *key);
	/** 1 when the item is in the object, 0 when not, or a negative error. */
	int (*contains)(void *obj, void *item);
	/** 0, and in `order` a number less than, equal to or greater than 0 as a stands to b; or a negative error. */
	int (*compare)(void *a, void *b, int *order);
	/** For people, as `repr` is for programmers. Without it `repr` serves. */
	int (*str)(void *obj, char *buf, size_t size);
	/** 0 and the object's bytes, which stay good as long as it is alive and unchanged; or a negative error. */
	int (*bytes)(void *obj, const void **data, size_t *size);
	/** 0 and the result, or a negative error; ENOTSUP for an operator that the type does not know. */
	int (*operate)(void *obj, enum weakref_operator op, void *operand, void **result);
	/** The same, and obj may be changed and be the result itself. Without it, or where it says ENOTSUP, `operate` serves. */
	int (*inplace)(void *obj, enum weakref_operator op, void *operand, void **result);
	/** obj is the right operand: what `left op obj` is where left's type, which is another one, does not know. */
	int (*operate_right)(void *obj, enum weakref_operator op, void *left, void **result);
} gc_type;

/**
 * @brief Makes an object: zeroed payload of `type->size` bytes.
 * @param type its type, borrowed for the object's life.
 * @return the payload, aligned to 16 bytes; NULL with errno set.
 * Errors: EINVAL (no type, or a size that cannot be), ENOMEM, EPERM.
 * Cost: within 1.25 × GC_MALLOC of the same total size; for a type with a destructor a lock and 16 bytes more.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks (delivery at allocation).
 */
WEAKREF_API void *gc_new(const gc_type *type) __attribute__((malloc));

/**
 * @brief Makes an object whose payload is `extra` bytes longer than its type says (a flexible array at its end).
 * @param type as for gc_new.
 * @param extra bytes beyond type->size, zeroed.
 * @return the payload; NULL with errno set.
 * Errors: as gc_new; EINVAL also when the sum overflows.
 * Cost: as gc_new; large ones cost their clearing.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API void *gc_new_extra(const gc_type *type, size_t extra) __attribute__((malloc));

/**
 * @brief Allocates untyped memory that the collector scans for pointers, zeroed.
 * @param size bytes; 0 gives a block of its own all the same.
 * @return the block; NULL with errno set.
 * Errors: EINVAL (a size that cannot be: within 4 KiB of PTRDIFF_MAX, or above), ENOMEM, EPERM.
 * Cost: GC_MALLOC's.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API void *gc_alloc(size_t size) __attribute__((malloc));

/**
 * @brief Allocates untyped memory that holds no pointers; it is not zeroed, as GC_MALLOC_ATOMIC's is not.
 * @param size bytes.
 * @return the block; NULL with errno set.
 * Errors: as gc_alloc.
 * Cost: GC_MALLOC_ATOMIC's.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 */
WEAKREF_API void *gc_alloc_leaf(size_t size) __attribute__((malloc));

/**
 * What p points to is alive up to here. A compiler that optimises gives a variable's place to something else after its last use, and what
 * only weak references know then may be found dead at once. This is a use; it costs nothing. To store into *p is none, where the compiler
 * sees that nobody reads what was stored: an array that was made to hold objects, and is only written to, holds them up to its WEAKREF_KEEP.
 * Source: GC.KeepAlive(object) (.NET); Reference.reachabilityFence (Java); GC_reachable_here.
 */
#define WEAKREF_KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")

/**
 * @brief Lets the destructor of an object run once more, when the object is found dead again: for one that its destructor brought back, or after
 * gc_destroy_now or gc_destroy_cancel.
 *
 * The destructor itself may call it. gc_is_finalized says no from then on, until the destructor is called.
 * @param obj an object whose destructor has been called, or was taken away.
 * @return 1; 0 when the destructor is to run anyway, since it was not called yet; or a negative error, and it stays called.
 * Errors: EINVAL (no object of the library's, or its type has no destructor), ENOMEM, EPERM.
 * Cost: a lock and 16 bytes, as when it was made.
 * Thread: any thread known to the collector.
 * GC: may collect, and may run callbacks.
 * Source: GC.ReRegisterForFinalize; GC_register_finalizer in a finalizer.
 */
WEAKREF_API int gc_destroy_again(void *obj);

/**
 * @brief Calls the destructor of an object now, in this thread; when the object is found dead, it is not called any more.
 *
 * For what is closed when the program is done with it, and otherwise by its death. The object goes on as it is. Whoever else uses it at that
 * moment has to know of it.
 * @param obj an object whose type has a destructor.
 * @param result receives what the destructor returned, where it was called; may be NULL.
 * @return 1 when it was called; 0 when there was nothing to call (it has begun before, or was taken away); or a negative error.
 * Errors: EINVAL (no object of the library's, or its type has no destructor), EPERM.
 * Cost: an atomic exchange, and the destructor's.
 * Thread: any thread known to the collector.
 * GC: collects only if the destructor does.
 * Source: finalize(x) (Julia); Cleanable.clean (Java).
 */
WEAKREF_API int gc_destroy_now(void *obj, int *result);

/**
 * @brief Takes the destructor of an object away: it is not called when the object is found dead, as if its type had none.
 *
 * gc_is_finalized says yes from then on, and gc_destroy_again takes it back.
 * @param obj an object whose type has a destructor.
 * @return 1; 0 when there was nothing to take away (it has begun before, or was taken away); or a negative error.
 * Errors: EINVAL (no object of the library's, or its type has no destructor), EPERM.
 * Cost: an atomic exchange.
 * Thread: any thread known to the collector.
 * GC: never collects.
 * Source: GC.SuppressFinalize (.NET); cancel-finalization (SBCL).
 */
WEAKREF_API int gc_destroy_cancel(void *obj);

/**
 * @brief The type of an object.
 * @param obj any address.
 * @return its type; NULL where obj is not the address of a live object of this library (a foreign block, an interior pointer, a
 * static, NULL).
 * Errors: none.
 * Cost: two look-ups in the collector's block headers, some 10 ns.
 * Thread: any.
 * GC: never collects.
 */
WEAKREF_API const gc_type *gc_type_of(const void *obj);

/**
 * @brief Writes what the object says of itself: its type's repr, or `<name at 0x…>`; a foreign block is `<block at 0x…>`.
 * @param obj an object, a proxy, or any address of the collected heap.
 * @param buf where to, may be NULL when size is 0.
 * @param size bytes of buf; the text is cut to fit and always ends in NUL.
 * @return the length that the whole text wants, as snprintf, or a negative error.
 * Errors: EINVAL (NULL, or not on the heap), ESTALE (a dead proxy), and what the slot returns.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot does.
 */
WEAKREF_API int gc_repr(void *obj, char *buf, size_t size);

/**
 * @brief The object's hash: its type's, or one of its address.
 * @param obj an object or a foreign block.
 * @param out receives the hash.
 * @return 0, or a negative error.
 * Errors: EINVAL, ENOTSUP (a proxy: proxies are not hashable, as in Python), and what the slot returns.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot does.
 */
WEAKREF_API int gc_hash(void *obj, uint64_t *out);

/**
 * @brief Whether two objects are equal, by the type of the first, else of the second, else by identity. Else is where a type has no such
 * slot, or it says ENOTSUP.
 * @param a an object, a proxy (which stands for its object) or a foreign block.
 * @param b likewise.
 * @return 1 or 0, or a negative error.
 * Errors: EINVAL (NULL), ESTALE (a dead proxy), and what the slot returns.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot does.
 */
WEAKREF_API int gc_equal(void *a, void *b);

/**
 * @brief Reads an attribute.
 * @param obj an object or a proxy.
 * @param name NUL-terminated.
 * @param value receives it.
 * @return 0, or a negative error.
 * Errors: EINVAL, ESTALE (dead proxy), ENOTSUP (no slot), ENOENT (no such attribute), and what the slot returns.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot does.
 */
WEAKREF_API int gc_getattr(void *obj, const char *name, void **value);

/**
 * @brief Writes an attribute.
 * @param obj an object or a proxy.
 * @param name NUL-terminated.
 * @param value what to store.
 * @return 0, or a negative error.
 * Errors: as gc_getattr.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot does.
 */
WEAKREF_API int gc_setattr(void *obj, const char *name, void *value);

/**
 * @brief Removes an attribute.
 * @param obj an object or a proxy.
 * @param name NUL-terminated.
 * @return 0, or a negative error.
 * Errors: as gc_getattr.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot does.
 */
WEAKREF_API int gc_delattr(void *obj, const char *name);

/**
 * @brief Calls an object.
 * @param obj an object or a proxy.
 * @param argc number of arguments.
 * @param argv the arguments; may be NULL when argc is 0.
 * @param result receives the result; may be NULL.
 * @return 0, or a negative error.
 * Errors: EINVAL, ESTALE (dead proxy), ENOTSUP (not callable), and what the slot returns.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot does.
 */
WEAKREF_API int gc_call(void *obj, size_t argc, void **argv, void **result);

/**
 * @brief The length of a container object.
 * @param obj an object or a proxy.
 * @param out receives it.
 * @return 0, or a negative error.
 * Errors: EINVAL, ESTALE (dead proxy), ENOTSUP (no slot), and what the slot returns.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot does.
 */
WEAKREF_API int gc_len(void *obj, size_t *out);

/**
 * @brief Whether the object counts as true: its type's word, else a length other than 0, else true.
 * @param obj an object or a proxy.
 * @return 1 or 0, or a negative error.
 * Errors: EINVAL, ESTALE (dead proxy), and what the slot returns.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot does.
 */
WEAKREF_API int gc_truth(void *obj);

/**
 * @brief Visits the items of a container object.
 * @param obj an object or a proxy.
 * @param visit called for each item; non-zero stops.
 * @param user passed to visit.
 * @return 0 after the last item, or what visit returned, or a negative error.
 * Errors: EINVAL, ESTALE (dead proxy), ENOTSUP (no slot), and what the slot returns.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot or visit does.
 */
WEAKREF_API int gc_iterate(void *obj, gc_visit_fn visit, void *user);

/**
 * @brief Visits the items of a container object from the last to the first.
 * @param obj an object or a proxy.
 * @param visit called for each item; non-zero stops.
 * @param user passed to visit.
 * @return 0 after the last item, or what visit returned, or a negative error.
 * Errors: EINVAL, ESTALE (dead proxy), ENOTSUP (no slot), and what the slot returns.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot or visit does.
 * Source: reversed(obj).
 */
WEAKREF_API int gc_iterate_reverse(void *obj, gc_visit_fn visit, void *user);

/**
 * @brief Reads an item.
 * @param obj an object or a proxy.
 * @param key whatever the type takes for a key.
 * @param value receives the item.
 * @return 0, or a negative error.
 * Errors: EINVAL, ESTALE (dead proxy), ENOTSUP (no slot), and what the slot returns.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot does.
 * Source: obj[key], obj[a:b].
 */
WEAKREF_API int gc_getitem(void *obj, void *key, void **value);

/**
 * @brief Writes an item.
 * @param obj an object or a proxy.
 * @param key whatever the type takes for a key.
 * @param value what to store.
 * @return 0, or a negative error.
 * Errors: EINVAL, ESTALE (dead proxy), ENOTSUP (no slot), and what the slot returns.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot does.
 * Source: obj[key] = value.
 */
WEAKREF_API int gc_setitem(void *obj, void *key, void *value);

/**
 * @brief Removes an item.
 * @param obj an object or a proxy.
 * @param key whatever the type takes for a key.
 * @return 0, or a negative error.
 * Errors: EINVAL, ESTALE (dead proxy), ENOTSUP (no slot), and what the slot returns.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot does.
 * Source: del obj[key].
 */
WEAKREF_API int gc_delitem(void *obj, void *key);

/**
 * @brief Whether something is in a container object.
 * @param obj an object or a proxy.
 * @param item what to look for.
 * @return 1 or 0, or a negative error.
 * Errors: EINVAL, ESTALE (dead proxy), ENOTSUP (no slot), and what the slot returns.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot does.
 * Source: item in obj.
 */
WEAKREF_API int gc_contains(void *obj, void *item);

/**
 * @brief How two objects are ordered, by the type of the first, else, turned round, of the second, as with gc_equal. There is no order by
 * identity.
 * @param a an object or a proxy.
 * @param b likewise.
 * @param order receives a number less than, equal to or greater than 0, as a stands to b.
 * @return 0, or a negative error.
 * Errors: EINVAL, ESTALE (dead proxy), ENOTSUP (neither type has the slot, or knows the other), and what the slot returns.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot does.
 * Source: a < b, a <= b, a > b, a >= b.
 */
WEAKREF_API int gc_compare(void *a, void *b, int *order);

/**
 * @brief Writes the object's text for people: its type's str, else what gc_repr writes.
 * @param obj an object, a proxy, or any address of the collected heap.
 * @param buf where to, may be NULL when size is 0.
 * @param size bytes of buf; the text is cut to fit and always ends in NUL.
 * @return the length that the whole text wants, as snprintf, or a negative error.
 * Errors: as gc_repr.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot does.
 * Source: str(obj).
 */
WEAKREF_API int gc_str(void *obj, char *buf, size_t size);

/**
 * @brief The object's bytes.
 * @param obj an object or a proxy.
 * @param data receives where they are: good as long as the object is alive and unchanged.
 * @param size receives how many.
 * @return 0, or a negative error.
 * Errors: EINVAL, ESTALE (dead proxy), ENOTSUP (no slot), and what the slot returns.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot does.
 * Source: bytes(obj).
 */
WEAKREF_API int gc_bytes(void *obj, const void **data, size_t *size);

/**
 * @brief Applies an operator to two objects, or to one: by the type of the first, else, by operate_right, of the second, if that is another.
 * @param obj an object or a proxy.
 * @param op of weakref_operator.
 * @param operand an object or a proxy, or whatever else the type takes; NULL is passed on. NULL for an operator with one operand.
 * @param result receives the result.
 * @return 0, or a negative error.
 * Errors: EINVAL, ESTALE (dead proxy), ENOTSUP (neither type has the slot, or knows the operator), and what the slot returns.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot does.
 * Source: obj + operand, -obj, abs(obj), int(obj), operator.index(obj).
 */
WEAKREF_API int gc_operate(void *obj, enum weakref_operator op, void *operand, void **result);

/**
 * @brief Applies an operator that may change its left object, and gives the result of the operation: never the proxy, though obj was one.
 * By `inplace` of the object's type, else as gc_operate does it.
 * @param obj an object or a proxy.
 * @param op of weakref_operator, with two operands.
 * @param operand as for gc_operate.
 * @param result receives the result.
 * @return 0, or a negative error.
 * Errors: as gc_operate; EINVAL also for an operator with one operand.
 * Cost: the slot's.
 * Thread: any.
 * GC: collects only if the slot does.
 * Source: obj += operand.
 */
WEAKREF_API int gc_inplace(void *obj, enum weakref_operator op, void *operand, void **result);

/**
 * @brief Names what was missing when a generic operation last answered ENOTSUP, such as `type 'node' has no operation 'len'`.
 * @return the text, of the calling thread, good until its next failure; empty where there was none.
 * Errors: none.
 * Cost: none.
 * Thread: any.
 * GC: never collects.
 * Source: the message of Python's TypeError.
 */
WEAKREF_API const char *gc_error_detail(void);

#ifdef __cplusplus
}
#endif

#endif
