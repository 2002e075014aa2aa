/* Delays each flush of a file to the disk by the microseconds in the file that SLOW_DISK names. It is read each time, so
 * the delay can change while a server runs. Loaded before the C library, by LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void wait_for_disk(void)
{
	char text[16] = "";
	const char *name = getenv("SLOW_DISK");
	int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
	if (file < 0)
		return;
	ssize_t length = read(file, text, sizeof text - 1);
	close(file);
	long microseconds = length > 0 ? atol(text) : 0;
	struct timespec delay = {microseconds / 1000000, microseconds % 1000000 * 1000};
	nanosleep(&delay, NULL);
}

static int flush(const char *name, int file)
{
	int (*original)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
	wait_for_disk();
	return original(file);
}

int fsync(int file)
{
	return flush("fsync", file);
}

int fdatasync(int file)
{
	return flush("fdatasync", file);
}
