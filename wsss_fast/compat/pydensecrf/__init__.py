"""The interface of pydensecrf on top of :func:`wsss_fast.crf`.

``densecrf``, ``utils`` and ``eigen`` have the names, arguments, defaults and constants of the modules they
stand in for, and give their results up to rounding. What is different:

- Results are numpy arrays, not wrappers that have to be turned into arrays first.
- float64 is taken wherever float32 is expected, and memory order does not matter.
- Wrong input raises ``ValueError`` or ``TypeError`` where it comes in and names the argument. That holds for
  NaN, widths of 0, labels outside the classes and widths that do not match the axes, too.
- A lattice is built for each call of ``inference``, not when its term is added. Stepwise inference builds it
  once.
- Features have 1 to 16 dimensions.
- Without a unary ``startInference`` gives equal probabilities, as ``inference`` does. The original gives 0.
- ``klDivergence`` sums in double precision throughout. The original sums the pairwise terms in float32, which
  moves its result by some 1e-4 of it on a photograph.
- As many threads as ``torch.get_num_threads()``, the same bits at any number.
- Where the number of points is not a multiple of 4, the original fills its last vector up with points at the
  origin, which may add vertices to its lattice there and change its results a little. That is not imitated.
- Learning is not there; it is not in the original's interface either.
"""
