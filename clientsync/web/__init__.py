"""What pages reach over HTTP: sessions, the development issuer, the pages themselves."""
