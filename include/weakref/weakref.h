/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/weakref.h
 * @brief All of the library.
 */
#ifndef WEAKREF_WEAKREF_H
#define WEAKREF_WEAKREF_H

#include "weakref/error.h"
#include "weakref/gc.h"
#include "weakref/object.h"
#include "weakref/pool.h"
#include "weakref/proxy.h"
#include "weakref/ref.h"
#include "weakref/valuedict.h"
#include "weakref/version.h"

#endif
