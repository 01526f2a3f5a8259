#pragma once

#include <cstdint>

#include "common/cuda/place.h"
#include "common/host_device.h"
#include "ops/crf.h"
#include "ops/cuda/crf.h"
#include "ops/cuda/lattice_rows.h"
#include "ops/cuda/lattice_view.h"

// One update of all pixels: the energies of the unary at first, afterwards the messages of the
// terms, sliced and added to the energies, and what the softmax makes of them, in one pass over the
// rows of classes.
namespace wsss_fast::cuda {

constexpr int kTermsAtOnce = 8;  // more are added by launches of their own

// Unaries and what becomes of them: a map is one of the M of an image, and has a row of classes for
// each of the image's points. Rows lie by image, then by point, then by set, so that the sets of a
// point go through a lattice as one long row.
struct Maps {
    std::int64_t images;
    std::int64_t sets;
    std::int64_t classes;
    std::int64_t of_image;  // points
    RowShape shape;         // of one row of classes

    std::int64_t rows() const { return images * of_image * sets; }
    std::int64_t values() const { return rows() * shape.channels(); }
    // The index in [N][M][C][H][W] of class c of the row.
    WSSS_FAST_HOST_DEVICE std::int64_t at(std::int64_t image, std::int64_t set, std::int64_t c,
                                          std::int64_t point) const {
        return ((image * sets + set) * classes + c) * of_image + point;
    }
};

// One term as the update sees it, after its blur.
template <typename T>
struct SlicedTerm {
    LatticeView<T> lattice;
    const T* rows;             // [copies][lattice rows][sets][classes]
    bool same_in_all;          // one lattice for all images, a copy of its rows for each
    std::int64_t copy_values;  // from one such copy to the next, else 0
    CrfCompat compat_kind;
    const T* compat;  // a matrix is transposed, its rows padded as those of the maps
};

template <typename T>
struct UpdateTerms {
    SlicedTerm<T> term[kTermsAtOnce];
    int count;
};

// What an update does with the energies it has added up.
enum class Then { kKeep, kSoftmax, kOutput };

struct Output {
    CrfOutput kind;
    void* memory;
    Element element;
    int label_bytes;
    const std::int32_t* bad;  // [images]
};

template <typename T>
struct Update {
    Maps maps;
    UpdateTerms<T> terms;
    const void* unary;      // [N][M][C][H][W] that the energies are read from, or null
    Element unary_element;  // of it
    T* energies;            // rows, to which the terms are added; with a unary, where they go
    T* rows;                // where the sums, then Q go; where that is the output, it is scratch
    T* messages;            // scratch rows of the matrices, or null
    Then then;
    Output output;
};

template <typename T>
void launch_update(const Update<T>& update, const Place& place);

}  // namespace wsss_fast::cuda
