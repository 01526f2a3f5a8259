"""The public names of the package: what the API pages show and the tests hold to have examples that run."""

from __future__ import annotations

import importlib

PUBLIC: dict[str, tuple[str, ...] | None] = {
    "wsss_fast": None,
    "wsss_fast.nn": None,
    "wsss_fast.compat": None,
    "wsss_fast.compat.pydensecrf.densecrf": None,
    "wsss_fast.compat.pydensecrf.utils": None,
    "wsss_fast.compat.pydensecrf.eigen": ("matrixXf", "vectorXf"),
    "wsss_fast.reference.crf": ("PermutohedralLattice", "crf"),
    "wsss_fast.reference.random_walk": ("random_walk", "random_walk_sparse"),
    "wsss_fast.reference.path_affinity": ("path_affinity", "path_offsets"),
    "wsss_fast.reference.affinity_displacement_loss": ("affinity_displacement_loss",),
    "wsss_fast.reference.cam_fusion": ("fuse_cams",),
    "wsss_fast.reference.tta": ("tta_merge",),
    "wsss_fast.metrics": None,
    "wsss_fast.models.classifier": ("Classifier",),
    "wsss_fast.models.activation_maps": ("activation_maps",),
    "wsss_fast.models.irnet": ("IRNet", "boundary_and_displacement", "boundary_map"),
    "wsss_fast.models.segmenter": ("segmenter",),
    "wsss_fast.models.backbone": ("WeightsError", "normalization"),
    "wsss_fast.data": None,
    "wsss_fast.data.folder": ("Folder",),
    "wsss_fast.data.voc": ("Voc",),
    "wsss_fast.data.prepared": ("Prepared",),
    "wsss_fast.data.shapes": None,
    "wsss_fast.data.index_file": ("Entry", "IndexFile", "IndexWriter", "write_index"),
    "wsss_fast.files": (
        "DataError",
        "NoMasksError",
        "WriteError",
        "atomic_path",
        "ignore_of",
        "load_tensors",
        "mask_dtype",
        "read_json",
        "read_mask",
        "read_npz",
        "save_tensors",
        "voc_palette",
        "write_image",
        "write_json",
        "write_mask",
        "write_npz",
    ),
    "wsss_fast.prepare": None,
    "wsss_fast.prepare.folder": ("prepare_folder",),
    "wsss_fast.prepare.voc": ("prepare_voc",),
    "wsss_fast.prepare.lid": ("prepare_lid",),
    "wsss_fast.prepare.coco": ("prepare_coco",),
    "wsss_fast.prepare.check": ("check_data",),
    # The sections of the config are on the page that is made of their fields.
    "wsss_fast.config": ("Config", "ConfigError"),
    "wsss_fast.config_file": ("build", "read_values", "recipe", "save", "to_yaml"),
    "wsss_fast.cli": ("main", "parse_config"),
    "wsss_fast.steps.train_classifier": ("train_classifier",),
    "wsss_fast.steps.make_cams": ("make_cams",),
    "wsss_fast.steps.train_person_classifier": ("train_person_classifier",),
    "wsss_fast.steps.make_person_cams": ("make_person_cams",),
    "wsss_fast.steps.make_ir_labels": ("make_ir_labels",),
    "wsss_fast.steps.train_irnet": ("train_irnet",),
    "wsss_fast.steps.make_pseudo_masks": ("make_pseudo_masks",),
    "wsss_fast.steps.make_instance_masks": ("make_instance_masks",),
    "wsss_fast.steps.train_segmenter": ("train_segmenter",),
    "wsss_fast.steps.refine_pseudo_masks": ("refine_pseudo_masks",),
    "wsss_fast.steps.retrain_segmenter": ("retrain_segmenter",),
    "wsss_fast.steps.predict": ("predict",),
    "wsss_fast.steps.evaluate": ("evaluate",),
    "wsss_fast.report": ("report",),
    "wsss_fast.steps.run": ("run", "steps_of"),
    "wsss_fast.steps.ablate": ("ablate",),
}
"""Modules with their public names; None: all of ``__all__``."""


def names_of(module: str) -> tuple[str, ...]:
    """The public names of a module."""
    return PUBLIC[module] or tuple(importlib.import_module(module).__all__)


def public_objects() -> dict[str, object]:
    """The public functions and classes by their dotted names; constants and modules are left out."""
    found: dict[str, object] = {}
    for module in PUBLIC:
        for name in names_of(module):
            value = getattr(importlib.import_module(module), name)
            if callable(value):
                found[f"{module}.{name}"] = value
    return found
