"""The fixed probe set: annotated pictures that are looked at again and again.

``boxes`` geometry of boxes on grids · ``checks`` what may enter · ``probe_set`` the set itself · ``dataset`` how one
is drawn from an annotated dataset: ``reading`` one sample, ``annotation`` its objects, ``classes`` what its labels
mean, ``places`` which class a picture stands for, ``torchvision_sets`` what torchvision has · ``datamodule`` the
dataset behind a loader · ``saving`` and ``loading`` keep a set on disk, as ``saved`` describes.
"""
