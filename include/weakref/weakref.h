/* SPDX-License-Identifier: MIT */
/**
 * @file weakref/weakref.h
 * @brief All of the library.
 */
#ifndef WEAKREF_WEAKREF_H
#define WEAKREF_WEAKREF_H

#include "weakref/cache.h"
#include "weakref/ephemeron.h"
#include "weakref/epoch.h"
#include "weakref/error.h"
#include "weakref/executor.h"
#include "weakref/finalize.h"
#include "weakref/gc.h"
#include "weakref/interner.h"
#include "weakref/key.h"
#include "weakref/keydict.h"
#include "weakref/method.h"
#include "weakref/object.h"
#include "weakref/pool.h"
#include "weakref/proxy.h"
#include "weakref/ref.h"
#include "weakref/set.h"
#include "weakref/tls.h"
#include "weakref/valuedict.h"
#include "weakref/version.h"

#endif
