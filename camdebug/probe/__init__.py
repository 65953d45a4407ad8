"""The fixed probe set: annotated pictures that are looked at again and again.

``boxes`` geometry of boxes on grids · ``sanity`` and ``checks`` what may enter · ``held`` what a set holds ·
``probe_set`` the ways to one · ``doors`` which of them is meant · ``uses`` what can be done with it before a training ·
``leaving_out`` probes by hand · ``sentences`` that are said in several places.

From annotated files: ``from_source`` · ``naming`` their classes · ``selection`` the order in which pictures are tried ·
``plausibility`` of annotations as a whole · ``placing`` and ``drawing`` one picture after the other · ``cues`` that a
class may have from its files.

From a dataset: ``dataset`` · ``reading`` one sample · ``annotation`` its objects · ``classes`` what its labels mean ·
``places`` which class a picture stands for · ``torchvision_sets`` what torchvision has · ``dataset_labels`` what is
known of labels, and ``hints`` what need not be read then · ``lenders`` of backgrounds · ``datamodule`` the dataset
behind a loader.

Checked and kept: ``suspicion`` that boxes fit better otherwise · ``duplicates`` and ``leaks`` find pictures again by
their ``thumbnails`` and a ``local_look`` · ``saving`` and ``loading`` keep a set on disk, as ``saved`` describes.
"""
