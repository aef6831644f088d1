/* SPDX-License-Identifier: MIT */
/*
 * memcached: see memcached.h. PR_SET_PDEATHSIG ends a server whose test program died, and indeed the thread that started it.
 */
#include "memcached.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char folder[] = "/tmp/check_memcached.XXXXXX";
static char made[64][64];
static unsigned n_made;

bool memcached_found(void)
{
	static int found = -1;

	if (found < 0)
		found = system("command -v memcached >/dev/null 2>&1") == 0;
	return found;
}

static void remove_folder(void)
{
	for (unsigned i = 0; i < n_made; i++)
		unlink(made[i]);
	rmdir(folder);
}

static bool path_make(struct memcached_server *server)
{
	if (n_made == 0 && (mkdtemp(folder) == NULL || atexit(remove_folder) != 0))
		return false;
	if (n_made == sizeof made / sizeof made[0])
		return false;
	snprintf(server->path, sizeof server->path, "%s/%u", folder, n_made);
	strcpy(made[n_made++], server->path);
	return true;
}

/* It answers: the socket is there before it is listened on. */
static bool answers(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char reply[64] = "";
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(address.sun_path, path);
	bool good = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 && send(fd, "version\r\n", 9, MSG_NOSIGNAL) == 9 &&
		    recv(fd, reply, sizeof reply - 1, 0) > 0 && strncmp(reply, "VERSION", 7) == 0;
	close(fd);
	return good;
}

static void run_server(const char *path, pid_t parent)
{
	const struct passwd *user = getpwuid(getuid());

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	execlp("memcached", "memcached", "-s", path, "-a", "0600", "-m", "64", "-t", "1", "-u", user != NULL ? user->pw_name : "root", (char *)NULL);
	_exit(127);
}

bool memcached_start(struct memcached_server *server)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	pid_t parent = getpid();

	if (server->path[0] == '\0' && !path_make(server))
		return false;
	unlink(server->path);
	server->pid = fork();
	if (server->pid < 0)
		return false;
	if (server->pid == 0)
		run_server(server->path, parent);
	for (int i = 0; i < 500; i++) {
		if (answers(server->path))
			return true;
		nanosleep(&pause, NULL);
	}
	memcached_kill(server);
	return false;
}

void memcached_kill(struct memcached_server *server)
{
	if (server->pid <= 0)
		return;
	kill(server->pid, SIGKILL);
	while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	server->pid = 0;
}

void memcached_freeze(struct memcached_server *server)
{
	kill(server->pid, SIGSTOP);
	/* Until it has: */
	waitpid(server->pid, NULL, WUNTRACED);
}

void memcached_thaw(struct memcached_server *server)
{
	kill(server->pid, SIGCONT);
}
