"""N-gram models of plain text, one sentence a line, as KenLM and SRILM make them."""
