"""What judges and teachers behind a service share: the client, the ledger of paid answers, prices."""
