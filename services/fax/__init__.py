"""Fax: renders documents and sends them. Serve it with `headway worker headway.services.fax:fax --version v1`."""

from .fax import fax
from .models import FaxConfig, FaxId, FaxState, FaxStatus, Picture, SendFax

__all__ = ["FaxConfig", "FaxId", "FaxState", "FaxStatus", "Picture", "SendFax", "fax"]
