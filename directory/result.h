/* directory/result.h - what became of a signed document: one name and one sentence each. */
#pragma once

#define DIR_RESULT_LIST(X)                                                                         \
	X(OK, "ok", "the document is good")                                                        \
	X(SAME, "same", "the document is the one that is already held")                            \
	X(CUT, "cut", "the document ends too early: fetch it again or from another source")        \
	X(MALFORMED, "malformed",                                                                  \
	  "the document breaks the format: its source is broken or hostile, use another")          \
	X(FOREIGN_NET, "foreign-net",                                                              \
	  "the consensus is of another network: compare `id` in network.conf")                     \
	X(FORGED, "forged",                                                                        \
	  "a signature on the consensus does not verify: its source is hostile, or network.conf "  \
	  "has old authority keys")                                                                \
	X(SHORT_SIGNED, "short-signed",                                                            \
	  "fewer than k pinned authorities signed the consensus: ask another authority, or wait "  \
	  "for the next one")                                                                      \
	X(STALE, "stale",                                                                          \
	  "the consensus is no longer valid: check this machine's clock, else the authorities "    \
	  "have stopped")                                                                          \
	X(FUTURE, "future",                                                                        \
	  "the consensus is from the future: this machine's clock is behind, set it")              \
	X(ROLLED_BACK, "rolled-back",                                                              \
	  "the consensus is older than the one that is held: its source replays, use another")     \
	X(CONFLICT, "conflict",                                                                    \
	  "two consensuses carry one serial: tell the authorities' operators")                     \
	X(UNKNOWN_KEY, "unknown-key", "the signer is no authority of network.conf")                \
	X(NO_MEMORY, "no-memory", "there is no memory for the document")

enum dir_result {
#define X(id, code, text) DIR_##id,
	DIR_RESULT_LIST(X)
#undef X
		DIR_RESULT_COUNT
};

/* "stale" and so on, for JSON and logs; "unknown" for a number that is none. Never NULL. */
const char *dir_result_code(enum dir_result r);
/* The sentence, without a full stop, with its mend. Never NULL. */
const char *dir_result_text(enum dir_result r);
