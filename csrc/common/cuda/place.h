#pragma once

namespace wsss_fast::cuda {

// Where a CUDA op runs: one of these stands in its parameter struct.
struct Place {
    int device = 0;          // its number
    void* stream = nullptr;  // a cudaStream_t of that device
};

}  // namespace wsss_fast::cuda
