// Running out of memory must not end the process. A C++ exception cannot pass through ctypes, so a function try block with
// LSTMP_GUARD catches it and returns. The calling thread then asks lstmp_out_of_memory(), which reports each failure once,
// and lstmp/native.py raises MemoryError.
#pragma once
#include <exception>

namespace {
thread_local int lstmp_failed = 0;
}

extern "C" int lstmp_out_of_memory() {
  const int failed = lstmp_failed;
  lstmp_failed = 0;
  return failed;
}

// std::bad_alloc, or std::length_error of a vector that no memory could hold
#define LSTMP_GUARD(value)          \
  catch (const std::exception&) {   \
    lstmp_failed = 1;               \
    return value;                   \
  }
