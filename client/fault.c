/* client/fault.c - the error words of the control socket. docs/CONTROL.md lists them with the exit
 * codes. */
#include "client/client.h"

static const char *const words[FAULT_COUNT] = {
	[FAULT_NONE] = "none",
	[FAULT_BAD_REQUEST] = "bad-request",
	[FAULT_NO_DIRECTORY] = "no-directory",
	[FAULT_BAD_NAME] = "bad-name",
	[FAULT_NO_EXIT] = "no-such-exit",
	[FAULT_NO_PATH] = "no-path",
	[FAULT_AUTH_BAD] = "auth-bad",
	[FAULT_AUTH_EXPIRED] = "auth-expired",
	[FAULT_AUTH_QUOTA] = "auth-quota",
	[FAULT_AUTH_IN_USE] = "auth-in-use",
	[FAULT_AUTH_FULL] = "auth-full",
	[FAULT_AUTH_POLICY] = "auth-policy",
	[FAULT_AUTH_VERSION] = "auth-version",
	[FAULT_NO_FORWARD] = "exit-no-forward",
	[FAULT_BAD_GRANT] = "exit-bad-grant",
	[FAULT_HOST] = "host-failed",
	[FAULT_PERMISSION] = "not-permitted",
	[FAULT_TIMEOUT] = "timed-out",
	[FAULT_CANCELLED] = "cancelled",
};

const char *fault_word(enum fault f)
{
	return (unsigned)f < FAULT_COUNT && words[f] ? words[f] : "unknown";
}
