#pragma once

#include <cstdint>

#include "common/parallel.h"

namespace wsss_fast {

// Affinity of pixels with their neighbours inside a radius: 1 - the largest boundary value on the
// straight path between the two (common/paths.h defines neighbours and paths).
//
// affinity[n, p, y, x] belongs to pixel (y, x + radius - 1) and its neighbour p, so every path lies
// inside the map: [images, neighbours, height - (radius-1), width - 2 (radius-1)].
template <typename T>
struct PathAffinityParams {
    const T* boundary;    // [images, height, width]
    T* affinity;          // [images, neighbours, height - (radius-1), width - 2 (radius-1)]
    std::int64_t images;  // may be 0
    std::int64_t height;  // at least radius
    std::int64_t width;   // at least 2 radius - 1
    int radius;           // at least 2
    Execution execution;
};

// The gradient with respect to the boundary. It goes to one pixel a path: of those that hold the
// maximum the first, row by row from the top left of the path's bounding box.
template <typename T>
struct PathAffinityBackwardParams {
    const T* grad_affinity;  // [images, neighbours, height - (radius-1), width - 2 (radius-1)]
    const T* boundary;       // [images, height, width]
    T* grad_boundary;        // [images, height, width], written
    void* workspace;         // path_affinity_backward_workspace_bytes, aligned for T
    std::int64_t images;     // may be 0
    std::int64_t height;     // at least radius
    std::int64_t width;      // at least 2 radius - 1
    int radius;              // at least 2
    Execution execution;
};

template <typename T>
void path_affinity(const PathAffinityParams<T>& params);

template <typename T>
std::int64_t path_affinity_backward_workspace_bytes(const PathAffinityBackwardParams<T>& params);

template <typename T>
void path_affinity_backward(const PathAffinityBackwardParams<T>& params);

}  // namespace wsss_fast
