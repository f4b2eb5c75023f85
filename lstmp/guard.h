// Memory that cannot be had must not end the process: a function for ctypes whose body is followed by LSTMP_GUARD returns,
// and lstmp_out_of_memory() tells it, once, in the thread that has called. lstmp/native.py then raises MemoryError.
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
