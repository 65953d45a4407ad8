"""One dry run before a training: what a look will do with this model and these pictures, and what it will refuse.

``examine`` the examination · ``report`` what it says · ``facts`` what it found · ``findings`` problems and notes ·
``model``, ``forwards``, ``heat``, ``following``, ``boxes``, ``cost`` one question each · ``advice`` other layers ·
``failing`` a forward that raises or logs · ``picture`` boxes and maps as a picture · ``loading`` model and pictures for
the command line. Knows no trainer.
"""

from camdebug.doctor.examine import examine
from camdebug.doctor.report import DoctorReport

__all__ = ["DoctorReport", "examine"]
