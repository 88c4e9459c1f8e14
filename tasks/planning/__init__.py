"""Choose the settings of a run by a time budget (`reviewlm run --minutes`)."""
