#pragma once

#include <cmath>

#include "common/host_device.h"

// Paths of common/paths.h as a kernel goes along them: by arithmetic in place of tables, which at
// the largest radius would have half a million pixels. All threads go the same way at the same
// time, so that little of it is done in each of them.
namespace wsss_fast::cuda {

// body(p, dy, dx) for paths [begin, end), in their order.
template <typename Body>
WSSS_FAST_HOST_DEVICE void for_paths(int radius, int begin, int end, Body&& body) {
    int p = 0;
    for (int dy = 0; p < end; ++dy) {
        for (int dx = dy == 0 ? 1 : 1 - radius; dx < radius && p < end; ++dx) {
            if (dy * dy + dx * dx >= radius * radius) continue;
            if (p >= begin) body(p, dy, dx);
            ++p;
        }
    }
}

// row(y, left, right) for the rows of the path to (dy, dx), both less than 64 away: its pixels in
// row y are those from `left` to `right`, one after the other.
template <typename Row>
WSSS_FAST_HOST_DEVICE void for_path_rows(int dy, int dx, Row&& row) {
    const int leftmost = dx < 0 ? dx : 0;
    const int rightmost = dx < 0 ? 0 : dx;
    if (dy == 0) return row(0, leftmost, rightmost);
    // |dy x - dx y| is at most this, the largest integer whose square is less than dy^2 + dx^2.
    // Halfway between two integers there is no rounding that matters.
    const auto limit = static_cast<int>(std::sqrt(static_cast<float>(dy * dy + dx * dx) - 0.5f));
    // Division by dy, rounded down, of what kLift times dy lifts into [0, 2^14): a multiplication,
    // in units of 2^-20, that is too large by less than 1 / dy.
    constexpr int kBits = 20;
    constexpr int kLift = 128;
    const unsigned inverse = (1u << kBits) / static_cast<unsigned>(dy) + 1;
    const unsigned step = static_cast<unsigned>(dx) * inverse;
    unsigned left = static_cast<unsigned>(kLift * dy - limit + dy - 1) * inverse;
    unsigned right = static_cast<unsigned>(kLift * dy + limit) * inverse;
    for (int y = 0; y <= dy; ++y) {
        const int from = static_cast<int>(left >> kBits) - kLift;
        const int to = static_cast<int>(right >> kBits) - kLift;
        row(y, from > leftmost ? from : leftmost, to < rightmost ? to : rightmost);
        left += step;
        right += step;
    }
}

// pixel(y, x) for those of the path to (dy, dx), row by row from the top left of its bounding box.
template <typename Pixel>
WSSS_FAST_HOST_DEVICE void for_path_pixels(int dy, int dx, Pixel&& pixel) {
    for_path_rows(dy, dx, [&](int y, int left, int right) {
        for (int x = left; x <= right; ++x) pixel(y, x);
    });
}

}  // namespace wsss_fast::cuda
