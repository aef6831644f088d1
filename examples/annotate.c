/* SPDX-License-Identifier: MIT */
/*
 * annotate: data attached to objects of a library that one cannot change.
 *
 * libxml2 is told to take its memory from the collector (xmlGcMemSetup), and parses a document. Its nodes know nothing of us,
 * and who uses them next need not either; still each element gets a note: its depth, and how much text is below it. The notes
 * stand in a weak-key dictionary whose keys are libxml2's own nodes.
 *
 * A note refers to its node and to the note of the node's parent, so each value leads to its own key: an ordinary dictionary
 * would keep the document for ever, and so would one whose keys alone are weak, for its values are held and hold the keys.
 * Here the notes go with the document: nobody calls xmlFreeDoc, nobody clears the dictionary.
 *
 *     annotate [FILE]          FILE: an XML document; without one, one of its own. Exit status 0 where the notes came and went
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <libxml/xmlmemory.h>

#include <gc/gc.h>

#include <weakref/gc.h>
#include <weakref/keydict.h>
#include <weakref/object.h>

struct note {
	xmlNode *node;
	struct note *parent;
	unsigned depth;
	size_t text; /* bytes of it in the node and below */
};

static const gc_type note_type = {.name = "note", .size = sizeof(struct note)};

/* Who watches a block leaves it to the collector. */
static void free_later(void *block)
{
	(void)block;
}

static char *copy_string(const char *text)
{
	return GC_STRDUP(text);
}

static void *allocate(size_t size)
{
	return GC_MALLOC(size);
}

static void *allocate_atomic(size_t size)
{
	return GC_MALLOC_ATOMIC(size);
}

static void *reallocate(void *block, size_t size)
{
	return GC_REALLOC(block, size);
}

static size_t annotate(weakref_keydict *notes, xmlNode *node, struct note *parent)
{
	size_t text = 0;
	struct note *note = gc_new(&note_type);

	if (note == NULL || weakref_keydict_set(notes, node, note) != 0) {
		perror("annotate");
		exit(2);
	}
	note->node = node;
	note->parent = parent;
	note->depth = parent == NULL ? 0 : parent->depth + 1;
	for (xmlNode *child = node->children; child != NULL; child = child->next) {
		if (child->type == XML_ELEMENT_NODE)
			text += annotate(notes, child, note);
		else if (child->type == XML_TEXT_NODE && child->content != NULL)
			text += strlen((const char *)child->content);
	}
	note->text = text;
	return text;
}

/* Finds the notes again by the nodes, as anybody does who walks the document. Prints the first few. */
static size_t read_back(const weakref_keydict *notes, xmlNode *node, size_t so_far)
{
	const struct note *note = weakref_keydict_get(notes, node);

	if (note == NULL || note->node != node)
		return so_far;
	if (so_far < 8)
		printf("    %*s<%s>: %zu bytes of text\n", (int)note->depth * 2, "", (const char *)node->name, note->text);
	so_far++;
	for (xmlNode *child = node->children; child != NULL; child = child->next)
		if (child->type == XML_ELEMENT_NODE)
			so_far = read_back(notes, child, so_far);
	return so_far;
}

static char *sample(void)
{
	size_t room = 64 * 1024, used;
	char *text = GC_MALLOC_ATOMIC(room);

	if (text == NULL)
		exit(2);
	used = (size_t)snprintf(text, room, "<library>");
	for (int shelf = 1; shelf <= 20; shelf++) {
		used += (size_t)snprintf(text + used, room - used, "<shelf>");
		for (int book = 1; book <= 25; book++)
			used += (size_t)snprintf(text + used, room - used, "<book>Volume %d of shelf %d</book>", book, shelf);
		used += (size_t)snprintf(text + used, room - used, "</shelf>");
	}
	snprintf(text + used, room - used, "</library>");
	return text;
}

/* The document is reachable in here alone. */
static __attribute__((noinline)) size_t use_document(weakref_keydict *notes, const char *file)
{
	char *text = file == NULL ? sample() : NULL;
	xmlDoc *doc = file == NULL ? xmlReadMemory(text, (int)strlen(text), "sample.xml", NULL, 0) : xmlReadFile(file, NULL, 0);

	if (doc == NULL || xmlDocGetRootElement(doc) == NULL) {
		fprintf(stderr, "annotate: no document\n");
		exit(2);
	}
	annotate(notes, xmlDocGetRootElement(doc), NULL);
	gc_collect();
	size_t found = read_back(notes, xmlDocGetRootElement(doc), 0);
	printf("while the document is in use: %zu elements, %zu notes\n", found, weakref_keydict_len(notes));
	return found == weakref_keydict_len(notes) ? found : 0;
}

static __attribute__((noinline)) void overwrite_dead_frames(void)
{
	volatile char stack[65536];

	for (size_t i = 0; i < sizeof stack; i++)
		stack[i] = 0;
}

int main(int argc, char **argv)
{
	if (gc_init() != 0 || xmlGcMemSetup(free_later, allocate, allocate_atomic, reallocate, copy_string) != 0) {
		fprintf(stderr, "annotate: cannot start\n");
		return 2;
	}
	weakref_keydict *notes = weakref_keydict_new(WEAKREF_BY_IDENTITY);
	if (notes == NULL)
		return 2;
	size_t made = use_document(notes, argc > 1 ? argv[1] : NULL);
	xmlResetLastError();
	overwrite_dead_frames();
	for (int i = 0; i < 3; i++)
		gc_collect();
	size_t left = weakref_keydict_len(notes);
	printf("after it was dropped, and a collection: %zu notes\n", left);
	return made != 0 && left == 0 ? 0 : 1;
}
