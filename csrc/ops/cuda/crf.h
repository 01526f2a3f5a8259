#pragma once

#include <cstdint>

#include "common/cuda/element_type.h"
#include "common/cuda/place.h"
#include "ops/crf.h"

// Mean-field inference in the fully connected CRF on the GPU; see ops/crf.h.
namespace wsss_fast::cuda {

template <typename T>
struct CrfTerm {
    CrfFeatures kind = CrfFeatures::kGiven;  // positions have one lattice for all images
    void* lattice = nullptr;                 // as LatticeBuilder made it; its weights are changed
    std::int64_t lattice_bytes = 0;          // of it
    int dims = 0;                            // d
    CrfCompat compat_kind = CrfCompat::kScalar;  // how to read `compat`
    const T* compat = nullptr;                   // the compatibility, in row-major order
    CrfNormalization normalization = CrfNormalization::kSymmetric;  // of the term's filter
};

enum class CrfOutput { kProbs, kLogProbs, kLabels };

template <typename T>
struct CrfParams {
    std::int64_t images = 0;               // N
    std::int64_t sets = 0;                 // M: how many unaries share an image
    std::int64_t classes = 0;              // C
    std::int64_t points = 0;               // H W
    const void* unary = nullptr;           // [N][M][C][H][W] energies
    Element element = Element::kFloat32;   // of the unary and the probabilities
    CrfOutput output = CrfOutput::kProbs;  // what goes to `out`
    void* out = nullptr;                   // [N][M][C][H][W], or labels [N][M][H][W]
    int label_bytes = 1;                   // 1 (unsigned), 2 or 4
    const CrfTerm<T>* terms = nullptr;     // [term_count]
    int term_count = 0;                    // how many pairwise terms
    int iterations = 0;                    // mean-field updates; 0 gives softmax(-unary)
    void* workspace = nullptr;             // of crf_workspace_bytes()
    Place place;                           // device and stream
};

template <typename T>
std::int64_t crf_workspace_bytes(const CrfParams<T>& params);

// Where an image or features were none that a lattice can be made of, and where a lattice has no
// room for an image's vertices, the probabilities of that image are NaN. So they are where the
// unary is NaN, and where that leads.
template <typename T>
void crf(const CrfParams<T>& params);

}  // namespace wsss_fast::cuda
