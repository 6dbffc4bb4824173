"""Fax: renders documents and sends them. Serve it with `headway worker services.fax:fax --version v1`."""

from services.fax.fax import fax
from services.fax.models import FaxConfig, FaxId, FaxState, FaxStatus, Picture, SendFax

__all__ = ["FaxConfig", "FaxId", "FaxState", "FaxStatus", "Picture", "SendFax", "fax"]
