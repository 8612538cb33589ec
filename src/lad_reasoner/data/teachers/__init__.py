"""Teachers: who answers questions about pictures, from which the SFT set is made."""
