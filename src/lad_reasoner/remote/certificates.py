"""Why a server's certificate is not trusted, and what helps.

explain_certificate(error)     # "the certificate is not trusted (…); name the file … in the variable SSL_CERT_FILE"
"""

from __future__ import annotations

import ssl

OTHER_HOST = (62, 64)  # codes of OpenSSL: the certificate is for another name, for another IP address


def explain_certificate(error: BaseException | None) -> str:
    """A line if the error, or one that it was made from, is that of a certificate; else empty."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    if error is None:
        return ""
    if error.verify_code in OTHER_HOST:
        mend = "give the host as the certificate names it"
    else:
        mend = "name the file with the certificate of its authority in the variable SSL_CERT_FILE"
    return f"the certificate is not trusted ({error.verify_message.rstrip('.')}); {mend}"
