"""Peer connections over WebRTC data channels."""

from .engine import IceServer, RTCOptions
from .transport import WebRTC

__all__ = ["IceServer", "RTCOptions", "WebRTC"]
