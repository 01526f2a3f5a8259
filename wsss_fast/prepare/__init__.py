"""``wsss-fast prepare``: from a data set to what the reader ``prepared`` takes.

`lid`, `voc` and `coco` read the original layouts, `folder` that of the reader ``folder`` (their modules say
what exactly), and write into a folder:

- ``train.index``, ``val.index``: the images of a split, their labels and masks (`wsss_fast.data.index_file`);
  images and most masks stay where they are.
- ``masks/``: masks that had to be made (coco).
- ``report.json``, ``report.md``: counts of each class and split, and what was found wrong (`_report`).
- ``checks-<split>.jsonl`` (``checks-all.jsonl`` where both splits are the same images): what was seen in each
  file, so that the same command goes on where it was stopped, and only looks again at files that have changed
  since.

`check` looks at a data set that another reader reads, and writes the report and the checks alone.

`command` parses the arguments; `_examine` looks at one image in a worker process, `_processes` runs those,
`_journal` remembers, `_split` makes an index file of it all.

In Python each is a function of a folder and of `Settings`, and returns the report that it wrote.
"""

from wsss_fast.prepare._split import Settings

__all__ = ["Settings"]
