#pragma once

#include <cstdint>

namespace wsss_fast {

// Loops over the columns of a resampled row take this many at a time. Tables and rows are padded to
// a multiple of it.
constexpr int kColumnGroup = 16;

// Elements behind a row that the loops may read, the first of them to give it a weight of 0.
constexpr std::int64_t kRowSlack = 2 * kColumnGroup + 1;

// How far apart the source samples of neighbouring columns lie.
enum class Spread {
    kWhole,  // every column is one sample as it is, none further than one from the last
    kNear,   // none further than one from the last
    kFar     // none further than two from the last
};

// A row resampled along x: out[x] = first[x] * row[low[x]] + second[x] * row[low[x] + 1]. Where
// low[x] is the last sample, second[x] is 0 and one more element of the row is read, which has to
// be finite. The padding repeats the last column.
template <typename T>
struct Columns {
    const std::int32_t* low;  // rising or falling
    const T* first;
    const T* second;
    Spread spread;
};

}  // namespace wsss_fast
