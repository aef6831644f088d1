/* SPDX-License-Identifier: MIT */
/*
 * pictures: landscapes, bubbles, rosettes and waves of 320 to 640 pixels a side, drawn with cairo and written as real PNG
 * files: about a mebibyte each when decoded.
 *
 * Every picture has a random state of its own, from the seed and its number. They are drawn in a child process: what cairo
 * and its fonts take from memory is not to be found in the processes that are measured later, which are forked from this
 * one.
 *
 * Only files that were made here are ever deleted, by name, and only in a folder that mkdtemp made.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* asprintf */
#endif
#include "pictures.h"

#include <cairo.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "say.h"
#include "stop.h"

#define SIDE_MIN 320
#define SIDE_MAX 640

/* One picture in the making. */
struct canvas {
	cairo_t *cr;
	double width, height;
	unsigned short random[3];
};

static double between(struct canvas *canvas, double low, double high)
{
	return low + (high - low) * erand48(canvas->random);
}

/* A colour of the wheel; hue in turns, value how bright. */
static void hue_rgb(double hue, double value, double rgb[3])
{
	for (int i = 0; i < 3; i++)
		rgb[i] = value * (0.6 + 0.4 * cos(2 * M_PI * (hue - i / 3.0)));
}

static void set_hue(struct canvas *canvas, double hue, double value, double alpha)
{
	double rgb[3];

	hue_rgb(hue, value, rgb);
	cairo_set_source_rgba(canvas->cr, rgb[0], rgb[1], rgb[2], alpha);
}

/* Fills everything, from one colour at the top to another at the bottom. */
static void draw_backdrop(struct canvas *canvas, double hue)
{
	cairo_pattern_t *gradient = cairo_pattern_create_linear(0, 0, 0, canvas->height);
	double top[3], bottom[3];

	hue_rgb(hue, 0.95, top);
	hue_rgb(hue + between(canvas, 0.05, 0.25), 0.55, bottom);
	cairo_pattern_add_color_stop_rgb(gradient, 0, top[0], top[1], top[2]);
	cairo_pattern_add_color_stop_rgb(gradient, 1, bottom[0], bottom[1], bottom[2]);
	cairo_set_source(canvas->cr, gradient);
	cairo_paint(canvas->cr);
	cairo_pattern_destroy(gradient);
}

/* A sun, and ranges of hills that darken towards the viewer. */
static void draw_landscape(struct canvas *canvas, double hue)
{
	double size = fmin(canvas->width, canvas->height);

	cairo_arc(canvas->cr, between(canvas, 0.2, 0.8) * canvas->width, between(canvas, 0.2, 0.4) * canvas->height,
		  between(canvas, 0.06, 0.12) * size, 0, 2 * M_PI);
	cairo_set_source_rgba(canvas->cr, 1, 0.95, 0.75, 0.9);
	cairo_fill(canvas->cr);
	for (int range = 0; range < 5; range++) {
		double base = canvas->height * (0.45 + 0.12 * range), height = canvas->height * between(canvas, 0.04, 0.1);
		double length = canvas->width * between(canvas, 0.08, 0.2), phase = between(canvas, 0, 7);

		cairo_move_to(canvas->cr, 0, canvas->height);
		for (double x = 0; x <= canvas->width + 4; x += 4) {
			double ridge = sin(x / length + phase) + 0.4 * sin(2.7 * x / length + 2 * phase);

			cairo_line_to(canvas->cr, x, base + height * ridge);
		}
		cairo_line_to(canvas->cr, canvas->width, canvas->height);
		cairo_close_path(canvas->cr);
		set_hue(canvas, hue + 0.4, 0.75 - 0.13 * range, 1);
		cairo_fill(canvas->cr);
	}
}

static void draw_bubbles(struct canvas *canvas, double hue)
{
	double size = fmin(canvas->width, canvas->height);

	for (int i = 0; i < 40; i++) {
		double x = between(canvas, 0, canvas->width), y = between(canvas, 0, canvas->height);
		double radius = size * between(canvas, 0.02, 0.14);

		cairo_arc(canvas->cr, x, y, radius, 0, 2 * M_PI);
		set_hue(canvas, hue + between(canvas, 0.3, 0.7), 1, 0.35);
		cairo_fill_preserve(canvas->cr);
		cairo_set_source_rgba(canvas->cr, 1, 1, 1, 0.6);
		cairo_set_line_width(canvas->cr, 1.5);
		cairo_stroke(canvas->cr);
	}
}

/* Petals around a centre, in rings. */
static void draw_rosette(struct canvas *canvas, double hue)
{
	double size = fmin(canvas->width, canvas->height);
	int petals = 6 + (int)between(canvas, 0, 10);

	for (int ring = 5; ring > 0; ring--) {
		for (int i = 0; i < petals; i++) {
			cairo_save(canvas->cr);
			cairo_translate(canvas->cr, canvas->width / 2, canvas->height / 2);
			cairo_rotate(canvas->cr, 2 * M_PI * (i + ring * 0.5) / petals);
			cairo_translate(canvas->cr, size * 0.075 * ring, 0);
			cairo_scale(canvas->cr, size * 0.09 * sqrt(ring), size * 0.05 * sqrt(ring));
			cairo_arc(canvas->cr, 0, 0, 1, 0, 2 * M_PI);
			cairo_restore(canvas->cr);
			set_hue(canvas, hue + 0.5 + 0.06 * ring, 1, 0.55);
			cairo_fill(canvas->cr);
		}
	}
}

static void draw_waves(struct canvas *canvas, double hue)
{
	double bend = between(canvas, 20, 60), phase = between(canvas, 0, 7), step = between(canvas, 9, 20);

	cairo_set_line_width(canvas->cr, step * 0.45);
	for (double y = -bend; y < canvas->height + bend; y += step) {
		cairo_move_to(canvas->cr, 0, y);
		for (double x = 0; x <= canvas->width + 6; x += 6)
			cairo_line_to(canvas->cr, x, y + bend * sin(x / canvas->width * 6 + phase + y / canvas->height * 2));
		set_hue(canvas, hue + 0.3 + 0.4 * y / canvas->height, 1, 0.7);
		cairo_stroke(canvas->cr);
	}
}

/* The picture's number in its corner. */
static void draw_number(struct canvas *canvas, size_t number)
{
	char text[32];

	snprintf(text, sizeof text, "%zu", number);
	cairo_select_font_face(canvas->cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_BOLD);
	cairo_set_font_size(canvas->cr, canvas->height / 9);
	cairo_move_to(canvas->cr, canvas->width * 0.04, canvas->height * 0.95);
	cairo_text_path(canvas->cr, text);
	cairo_set_source_rgba(canvas->cr, 0, 0, 0, 0.5);
	cairo_set_line_width(canvas->cr, 4);
	cairo_stroke_preserve(canvas->cr);
	cairo_set_source_rgb(canvas->cr, 1, 1, 1);
	cairo_fill(canvas->cr);
}

static void draw_picture(struct canvas *canvas, size_t number)
{
	static void (*const subjects[])(struct canvas *, double) = {draw_landscape, draw_bubbles, draw_rosette, draw_waves};
	double hue = between(canvas, 0, 1);

	draw_backdrop(canvas, hue);
	subjects[number % (sizeof subjects / sizeof subjects[0])](canvas, hue);
	draw_number(canvas, number);
}

/* "FOLDER/picture-0001.png"; NULL without memory. */
static char *picture_path(const struct pictures *pictures, size_t number)
{
	char *path;

	return asprintf(&path, "%s/picture-%04zu.png", pictures->folder, number) < 0 ? NULL : path;
}

/* Draws one picture into its file. Returns 0, or -1 after a report. */
static int render_one(const struct pictures *pictures, size_t number, uint64_t seed)
{
	uint64_t mixed = (seed + number) * UINT64_C(0x9e3779b97f4a7c15);
	struct canvas canvas = {
		.random = {(unsigned short)(mixed >> 48), (unsigned short)(mixed >> 32), (unsigned short)(mixed >> 16)},
	};
	cairo_surface_t *surface;
	cairo_status_t status;
	char *path = picture_path(pictures, number);

	if (path == NULL) {
		say("%s", strerror(ENOMEM));
		return -1;
	}
	canvas.width = floor(between(&canvas, SIDE_MIN, SIDE_MAX));
	canvas.height = floor(between(&canvas, SIDE_MIN, SIDE_MAX));
	surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)canvas.width, (int)canvas.height);
	canvas.cr = cairo_create(surface);
	draw_picture(&canvas, number);
	status = cairo_status(canvas.cr);
	errno = 0;
	if (status == CAIRO_STATUS_SUCCESS)
		status = cairo_surface_write_to_png(surface, path);
	if (status != CAIRO_STATUS_SUCCESS)
		say_of(path, "cannot be written: %s", errno != 0 ? strerror(errno) : cairo_status_to_string(status));
	cairo_destroy(canvas.cr);
	cairo_surface_destroy(surface);
	free(path);
	return status == CAIRO_STATUS_SUCCESS ? 0 : -1;
}

/* Finds or makes the folder. Returns 0, or -1 after a report. */
static int folder_open(struct pictures *pictures, const char *folder)
{
	const char *tmp = getenv("TMPDIR");

	if (folder != NULL) {
		pictures->folder = strdup(folder);
		if (pictures->folder != NULL && (mkdir(folder, 0777) == 0 || errno == EEXIST))
			return 0;
	} else {
		if (asprintf(&pictures->folder, "%s/imagecache-XXXXXX", tmp != NULL && *tmp != '\0' ? tmp : "/tmp") < 0)
			pictures->folder = NULL;
		pictures->temporary = pictures->folder != NULL && mkdtemp(pictures->folder) != NULL;
		if (pictures->temporary)
			return 0;
	}
	say_of(pictures->folder != NULL ? pictures->folder : "a folder for pictures", "cannot be made: %s", strerror(errno));
	return -1;
}

/* The child: draws all of them. Returns the process's exit status. */
static int render_all(const struct pictures *pictures, uint64_t seed)
{
	for (size_t number = 1; number <= pictures->count; number++) {
		if (render_one(pictures, number, seed) != 0)
			return EXIT_FAILURE;
		say_progress("drawing pictures", number, pictures->count, "");
	}
	say_progress_end();
	return EXIT_SUCCESS;
}

/*
 * Waits for the child, and ends it where a signal asked to stop. Asks again and again instead of blocking: a signal that
 * came just before would be seen when all was drawn only.
 */
static int wait_for_child(pid_t child)
{
	const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
	int status = 0;
	pid_t got;

	while ((got = waitpid(child, &status, WNOHANG)) == 0 || (got < 0 && errno == EINTR)) {
		if (stop_requested() != 0)
			kill(child, SIGTERM);
		nanosleep(&pause, NULL);
	}
	return status;
}

int pictures_render(struct pictures *pictures, const char *folder, size_t count, uint64_t seed)
{
	pid_t child;
	int status;

	*pictures = (struct pictures){0};
	if (folder_open(pictures, folder) != 0)
		return -1;
	pictures->count = count;
	fflush(NULL);
	child = fork();
	if (child == 0) {
		stop_default();
		_exit(render_all(pictures, seed));
	}
	if (child < 0) {
		say("no process to draw pictures: %s", strerror(errno));
		return -1;
	}
	status = wait_for_child(child);
	if (WIFSIGNALED(status) && stop_requested() == 0)
		say("drawing pictures was ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	return stop_requested() == 0 && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS ? 0 : -1;
}

void pictures_remove(struct pictures *pictures)
{
	if (pictures->temporary) {
		for (size_t number = 1; number <= pictures->count; number++) {
			char *path = picture_path(pictures, number);

			if (path != NULL)
				unlink(path);
			free(path);
		}
		if (rmdir(pictures->folder) != 0)
			say_of(pictures->folder, "cannot be removed: %s", strerror(errno));
	}
	free(pictures->folder);
	*pictures = (struct pictures){0};
}
