"""What is known of a share's key before it is opened, and remembered afterwards."""

from __future__ import annotations

from peerpouch.errors import IdentityChanged, StorageError
from peerpouch.hub.shares import Share
from peerpouch.identity.contacts import Contacts, Trust
from peerpouch.identity.invites import Invite
from peerpouch.identity.keys import PublicKey


class Acquaintance:
    """Judges the shares of one hub by the user's contacts. All but :meth:`trust` and :meth:`name_of` may block.

    Args:
        own: The key in whose name the hub is visited.
        label: What the hub is called; a name was seen at a hub.
    """

    def __init__(self, contacts: Contacts, own: PublicKey, label: str) -> None:
        self._contacts = contacts
        self._own = own
        self._label = label

    def judge(self, share: Share, confirm: bool, invite: Invite | None) -> None:
        """Whether to open it.

        Raises:
            IdentityChanged: its name was first opened under another key, or the invite is of another one.
        """
        if invite is not None:
            if not invite.is_for(share.key):
                raise IdentityChanged(
                    f"The owner's key of {share.name!r} has the fingerprint {share.fingerprint}, and the invite is of "
                    f"{invite.fingerprint}. Ask for another invite, over a way that you trust."
                )
            return
        if confirm or share.key == self._own:
            return
        if self._contacts.judge(share.name, share.key, scope=self._label) is Trust.CHANGED:
            raise IdentityChanged(
                f"The share {share.name!r} was first opened under another key than {share.fingerprint}. Compare this "
                "fingerprint with its owner over another way, and confirm it only if it is the same."
            )

    def remember(self, share: Share, confirmed: bool, now: float) -> None:
        """It was opened, at this time in seconds."""
        moment = round(1000 * now)
        self._contacts.remember(share.name, share.key, scope=self._label, now=moment, confirmed=confirmed)

    def trust(self, share: Share) -> Trust:
        """What a listing says of it."""
        if share.key == self._own:
            return Trust.SEEN
        try:
            return self._contacts.judge(share.name, share.key, scope=self._label)
        except StorageError:  # the listing goes on; opening says what is wrong
            return Trust.NEW

    def name_of(self, key: PublicKey) -> str | None:
        """The contact's name."""
        try:
            return self._contacts.name_of(key)
        except StorageError:  # a damaged file of names is no reason to close the door
            return None
