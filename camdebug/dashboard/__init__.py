"""One look becomes pictures and texts in every dashboard.

``board`` what is drawn, how often, and what is kept for it · ``class_maps`` the pictures of whole classes.
"""

from camdebug.dashboard.board import Dashboard, strips_due
from camdebug.dashboard.class_maps import cue_map_tag, place_tag

__all__ = ["Dashboard", "cue_map_tag", "place_tag", "strips_due"]
