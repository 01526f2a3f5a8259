"""The networks of the three steps."""

from wsss_fast._extras import need_pipeline

need_pipeline("wsss_fast.models")
