#pragma once

#include <cstdint>

#include "common/cuda/element_type.h"
#include "common/cuda/place.h"

namespace wsss_fast::cuda {

// The pixels in which paths (common/paths.h) begin: the rows [0, rows) and the columns
// [first_x, first_x + columns) of maps. Paths that leave the map are none.
struct PathSources {
    std::int64_t images;   // how many maps
    std::int64_t height;   // of a map
    std::int64_t width;    // of a map
    std::int64_t rows;     // of sources
    std::int64_t first_x;  // column of the first source
    std::int64_t columns;  // of sources
    int radius;            // 2 to 64
};

// Adds the gradient with respect to the boundary, from that with respect to the largest boundary on
// each path. That goes to one pixel: of those that hold the maximum the first, row by row from the
// top left of the path's bounding box; NaN, and a boundary outside [0, 1], count as larger than
// all.
template <typename T>
struct PathGradientParams {
    PathSources sources;
    const void* boundary = nullptr;       // [images][height][width]
    Element element = Element::kFloat32;  // of the boundary
    const T* grad_maxima = nullptr;       // [images][paths][rows][stride]
    std::int64_t stride = 0;              // at least `columns`
    T* grad_boundary = nullptr;           // [images][height][width], added to
    void* workspace = nullptr;            // of path_gradient_workspace_bytes()
    Place place;                          // device and stream
};

template <typename T>
std::int64_t path_gradient_workspace_bytes(const PathGradientParams<T>& params);

template <typename T>
void path_gradient(const PathGradientParams<T>& params);

}  // namespace wsss_fast::cuda
