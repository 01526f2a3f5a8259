#pragma once

#include <string>
#include <vector>

#include "driver/cases.h"

// Ways to call the ops, in each of which results must be those of one thread by itself.
namespace wsss_fast::driver {

// What each case gives with one thread.
using Results = std::vector<Bytes>;
Results alone(const Cases& cases);

void check_thread_counts(const Cases& cases, const Results& expected);
// So many threads that each call all ops, each op another one at a time.
void check_callers(const Cases& cases, const Results& expected, int callers);
// In a forked child of a process whose threads are idle, and in the parent afterwards.
void check_fork(const Cases& cases, const Results& expected);
// Each case stopped in the middle, and called again.
void check_cancelling(const Cases& cases, const Results& expected);

}  // namespace wsss_fast::driver
