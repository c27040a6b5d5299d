/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* top: full screen; who moves how much, now. */
#include "ctl/ctl.h"

#include <stdlib.h>

#ifdef HAVE_NCURSES
#include "ctl/outcome.h"
#include "ctl/rows.h"
#include "ctl/session.h"
#include "ctl/text.h"
#include "ctl/top.h"

#include <inttypes.h>
#include <ncurses.h>
#include <string.h>
#include <unistd.h>

#define INTERVAL_MS 1000
#define FILTER_MAX 256
#define WORDS_MAX 16
#define HEAD_LINES 2 /* above the table's own head */

static const char *const view_names[] = {"sockets", "clients", "destinations"};
static const char *const order_names[] = {"rate", "in", "out", "sockets", "name"};

struct screen {
    const struct settings *settings;
    struct session session;
    struct top top;
    enum top_view view;
    enum top_order order;
    size_t selected, first; /* lines */
    char filter[FILTER_MAX];
    char message[128]; /* until the next key */
    char id[24];       /* of what is being ended */
    bool is_paused;
};

/* ---- what there is ---- */

static int split(char *text, char *words[static WORDS_MAX])
{
    char *save = NULL;
    int count = 0;

    for (char *word = strtok_r(text, " ", &save); word && count < WORDS_MAX;
         word = strtok_r(NULL, " ", &save))
        words[count++] = word;
    return count;
}

static void refine(const struct screen *screen, struct records *rows)
{
    char text[FILTER_MAX], *words[WORDS_MAX];
    struct settings settings = *screen->settings;

    rows_refine(&rows_of_list, &settings, rows);
    strcpy(text, screen->filter);
    settings.args = words;
    settings.arg_count = split(text, words);
    settings.sort = NULL;
    rows_refine(&rows_of_list, &settings, rows);
}

/* An exit status, negative, after a complaint that stands on the terminal's own screen. */
static int look(struct screen *screen)
{
    struct records rows = {0};
    int r;

    if (!screen->is_paused) {
        r = asock_context_inspect(screen->session.context, "list", records_add, &rows,
                                  session_timeout(screen->settings));
        if (r < 0) {
            (void)endwin();
            return session_complain(&screen->session, "list", r);
        }
        refine(screen, &rows);
        top_take(&screen->top, &rows);
        records_free(&rows);
    }
    top_arrange(&screen->top, screen->view, screen->order);
    if (screen->selected >= screen->top.line_count)
        screen->selected = screen->top.line_count ? screen->top.line_count - 1 : 0;
    return 0;
}

/* ---- the screen ---- */

static void put_text(const char *text, int width, bool is_last)
{
    char *escaped, *cut;
    size_t len, columns;
    FILE *file;

    if (width < 1)
        return;
    file = report_need_memory(open_memstream(&escaped, &len));
    columns = text_print_escaped(file, text, 0);
    report_need_memory(fclose(file) == 0 ? escaped : NULL);
    if (columns <= (size_t)width) {
        addstr(escaped);
        for (; columns < (size_t)width && !is_last; columns++)
            addch(' ');
    } else {
        file = report_need_memory(open_memstream(&cut, &len));
        text_print_cut(file, escaped, (size_t)width);
        report_need_memory(fclose(file) == 0 ? cut : NULL);
        addstr(cut);
        free(cut);
    }
    free(escaped);
}

static void put_size(double bytes)
{
    char text[TEXT_NUMBER_MAX];

    printw(" %7s", text_human_size((int64_t)bytes, text));
}

#define NUMBERS_WIDTH 42 /* five of them, with their spaces, and the mark in front of the line */

/* Who or where to, with what is left of the line. */
static void put_names(const struct screen *screen, const char *user, const char *unit,
                      const char *to)
{
    int width = COLS - NUMBERS_WIDTH;

    if (screen->view == TOP_DESTINATIONS) {
        put_text(to, width, false);
        return;
    }
    put_text(user, 8, false);
    addch(' ');
    if (screen->view == TOP_CLIENTS) {
        put_text(unit, width - 9, false);
        return;
    }
    put_text(unit, (width - 10) / 2, false);
    addch(' ');
    put_text(to, width - 10 - (width - 10) / 2, false);
}

static void put_line(const struct screen *screen, const struct top_line *line)
{
    char age[TEXT_NUMBER_MAX];

    put_names(screen, line->first->user, line->first->unit, line->first->to);
    put_size(line->rate_in);
    put_size(line->rate_out);
    put_size((double)line->bytes_in);
    put_size((double)line->bytes_out);
    if (screen->view == TOP_SOCKETS)
        printw(" %7s", text_human_ms(line->age_ms, age));
    else
        printw(" %7zu", line->sockets);
}

static void put_head(const struct screen *screen)
{
    double in = 0, out = 0;
    char text[2][TEXT_NUMBER_MAX];

    for (size_t i = 0; i < screen->top.count; i++) {
        in += screen->top.sockets[i].rate_in;
        out += screen->top.sockets[i].rate_out;
    }
    move(0, 0);
    printw("asockctl top  %zu sockets  in %s/s  out %s/s  %s by %s%s", screen->top.count,
           text_human_size((int64_t)in, text[0]), text_human_size((int64_t)out, text[1]),
           view_names[screen->view], order_names[screen->order],
           screen->is_paused ? "  paused" : "");
    move(1, 0);
    if (screen->message[0])
        put_text(screen->message, COLS, true);
    else if (screen->filter[0])
        put_text(screen->filter, COLS, true);
    move(HEAD_LINES, 0);
    attron(A_REVERSE);
    addstr("  ");
    put_names(screen, "USER", "UNIT/COMMAND",
              screen->view == TOP_DESTINATIONS ? "DESTINATION" : "TO");
    printw(" %7s %7s %7s %7s %7s", "IN/s", "OUT/s", "IN", "OUT",
           screen->view == TOP_SOCKETS ? "AGE" : "SOCKETS");
    attroff(A_REVERSE);
}

static size_t page(void)
{
    return LINES > HEAD_LINES + 3 ? (size_t)(LINES - HEAD_LINES - 2) : 1;
}

static void draw(struct screen *screen)
{
    size_t last;

    if (screen->selected < screen->first)
        screen->first = screen->selected;
    if (screen->selected >= screen->first + page())
        screen->first = screen->selected - page() + 1;
    last = screen->first + page();
    erase();
    put_head(screen);
    for (size_t i = screen->first; i < screen->top.line_count && i < last; i++) {
        move(HEAD_LINES + 1 + (int)(i - screen->first), 0);
        if (i == screen->selected)
            attron(A_BOLD);
        addstr(i == screen->selected ? "> " : "  ");
        put_line(screen, &screen->top.lines[i]);
        attroff(A_BOLD);
    }
    move(LINES - 1, 0);
    put_text("q quit  Tab view  s sort  / filter  k kill  space pause", COLS - 1, true);
    if (screen->top.line_count)
        move(HEAD_LINES + 1 + (int)(screen->selected - screen->first), 0);
    refresh();
}

/* ---- keys ---- */

static void ask_filter(struct screen *screen)
{
    char text[FILTER_MAX] = "", copy[FILTER_MAX], *words[WORDS_MAX];

    move(1, 0);
    clrtoeol();
    addstr("filter: ");
    echo();
    timeout(-1);
    if (getnstr(text, FILTER_MAX - 1) == ERR)
        text[0] = '\0';
    timeout(INTERVAL_MS);
    noecho();
    strcpy(copy, text);
    if (!rows_are_filters(&rows_of_list, words, split(copy, words))) {
        snprintf(screen->message, sizeof(screen->message),
                 "not a filter: enter COLUMN=PATTERN, such as unit=foo.service");
        return;
    }
    strcpy(screen->filter, text);
    screen->selected = 0;
}

static void kill_selected(struct screen *screen)
{
    const struct top_line *line;
    size_t ended = 0;
    int key;

    if (screen->top.line_count == 0)
        return;
    line = &screen->top.lines[screen->selected];
    snprintf(screen->message, sizeof(screen->message), "end %zu %s of %.40s? [y/N]", line->sockets,
             line->sockets == 1 ? "socket" : "sockets",
             screen->view == TOP_DESTINATIONS ? line->first->to : line->first->unit);
    draw(screen);
    timeout(-1);
    key = getch();
    timeout(INTERVAL_MS);
    screen->message[0] = '\0';
    if (key != 'y' && key != 'Y')
        return;
    for (size_t i = 0; i < screen->top.count; i++) {
        const char *args[] = {screen->id, NULL};

        if (!top_has(line, &screen->top.sockets[i], screen->view))
            continue;
        snprintf(screen->id, sizeof(screen->id), "%" PRId64, screen->top.sockets[i].id);
        ended += asock_context_control(screen->session.context, "kill", args, NULL, NULL,
                                       session_timeout(screen->settings)) >= 0;
    }
    snprintf(screen->message, sizeof(screen->message), "%zu ended", ended);
}

static void move_selection(struct screen *screen, int key)
{
    size_t last = screen->top.line_count ? screen->top.line_count - 1 : 0;

    if (key == KEY_UP && screen->selected > 0)
        screen->selected--;
    else if (key == KEY_DOWN && screen->selected < last)
        screen->selected++;
    else if (key == KEY_PPAGE)
        screen->selected -= screen->selected < page() ? screen->selected : page();
    else if (key == KEY_NPAGE)
        screen->selected += last - screen->selected < page() ? last - screen->selected : page();
}

/* False: the user has had enough. */
static bool take_key(struct screen *screen, int key)
{
    if (key != ERR)
        screen->message[0] = '\0';
    switch (key) {
    case 'q':
        return false;
    case '\t':
        screen->view = (screen->view + 1) % TOP_VIEWS;
        screen->selected = 0;
        break;
    case '1':
    case '2':
    case '3':
        screen->view = (enum top_view)(key - '1');
        screen->selected = 0;
        break;
    case 's':
        screen->order = (screen->order + 1) % TOP_ORDERS;
        break;
    case '/':
        ask_filter(screen);
        break;
    case 'k':
        kill_selected(screen);
        break;
    case ' ':
        screen->is_paused = !screen->is_paused;
        break;
    default:
        move_selection(screen, key);
    }
    return true;
}

static int run_screen(struct screen *screen)
{
    int r;

    do {
        r = look(screen);
        if (r < 0)
            return -r;
        draw(screen);
    } while (take_key(screen, getch()));
    return EXIT_SUCCESS;
}

static int run_top(const struct settings *settings)
{
    struct screen screen = {.settings = settings};
    int status = rows_check_filters(&rows_of_list, settings->args, settings->arg_count), r;

    if (status)
        return status;
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return report_usage("top requires a terminal; without one, use asockctl list --watch");
    r = session_open_inspector(settings, &screen.session);
    if (r < 0)
        return -r;
    if (!newterm(NULL, stdout, stdin)) {
        report_error("the terminal type in TERM is not supported; use asockctl list --watch");
        session_close(&screen.session);
        return EXIT_FAILURE;
    }
    (void)cbreak();
    (void)noecho();
    (void)keypad(stdscr, TRUE);
    timeout(INTERVAL_MS);
    status = run_screen(&screen);
    (void)endwin();
    top_free(&screen.top);
    session_close(&screen.session);
    return status;
}
#else
static int run_top(const struct settings *settings)
{
    (void)settings;
    report_error(
        "this asockctl was built without ncurses; use asockctl list --watch --sort -in, or build it with libncurses-dev");
    return EXIT_FAILURE;
}
#endif

const struct command command_top = {
    .name = "top",
    .arguments = "[COLUMN=PATTERN]...",
    .summary = "show sockets and their transfer rates, full screen",
    .help =
        "Shows the sockets, with the number of bytes per second that each receives and sends, and updates the\n"
        "display every second. With filters, as in \"asockctl list\", only the sockets that match are shown.\n"
        "Uses the control socket.\n\n"
        "  q             quit\n"
        "  Tab, 1, 2, 3  show sockets, clients or destinations\n"
        "  s             sort by rate, in, out, sockets or name\n"
        "  /             enter a filter, as in \"asockctl list\"\n"
        "  arrows        select a line\n"
        "  k             kill the selected sockets, after confirmation\n"
        "  space         pause\n",
    .options = TAKES_CONTROL | TAKES_TIMEOUT,
    .max_args = ROWS_FILTERS_MAX,
    .run = run_top,
};
