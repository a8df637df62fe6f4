// The steps of the lesson. `task` is also shown above the room that a step leads to.

import { transformers } from "./runs.js";
import { link } from "./state.js";

const first = (studio, ...positions) => positions.map((name) => transformers(studio).find((run) => run.position.split(":", 1)[0] === name)).find(Boolean);
const writer = (studio) => studio.runs.find((run) => run.causal && run.predicts_next);

/**
 * Each step: title, text, quote (a few words of the article), claims, and what to do: room, label, todo, see, and
 * `values(studio)` of the room's address. `needs(studio)`: a run without which the step cannot be done; `trains`: the
 * embedding with which to train one, else the room has a button that trains the demo model.
 */
export const STEPS = [
  {
    title: "Why order",
    text: [
      "“Dog bites man” and “man bites dog” are the same words. Which is news depends on their order alone.",
      "A transformer reads all words at once. Its attention compares the vector of every word with that of every other word, and nothing in this comparison tells which word came first. If nothing else tells it either, the model gets a bag of words: “I love AI” and “AI love I” are one and the same to it. (Recurrent networks, which came before, read word by word and have order for nothing.)",
    ],
    quote: "“Transformers lack a built-in understanding of word order.”",
    claims: ["bag-of-words", "recurrent-order"],
    room: "order", label: "Compare two orders", values: () => ({ causal: "0", show: "none,sinusoidal,rotary", runs: "0" }),
    todo: "Compare “I love AI” with its reverse in models that attend both ways. Then type words of your own.",
    see: "In the card “none” every line lies at 0: the two sentences are the same, exactly. With a positional embedding they differ from layer 1 on.",
  },
  {
    title: "What an embedding is",
    text: [
      "A model computes with numbers, so every token of its vocabulary has a row of numbers: its vector, or embedding. Vectors begin random. Training moves them, until words that stand in similar places of the text have similar vectors.",
      "Note what is missing: a word has the same vector wherever it stands. The article's example, king and queen, needs vectors that were trained on far more text than this page uses.",
    ],
    quote: "“The vector for ‘king’ minus ‘man’ plus ‘woman’ should land close to ‘queen.’”",
    claims: ["king-and-queen"],
    room: "words", label: "Look at word vectors", needs: (studio) => studio.runs[0], values: () => ({}),
    todo: "Type a word, and see which words the model has placed near it.",
    see: "Neighbours that are used alike. A model of this size has learned them from little text, so many are wrong.",
  },
  {
    title: "Word + position",
    text: [
      "The simplest way to put order in: give every position a vector too, and add it to the word's vector. The first layer then reads one vector that says both which word it is and where it stands.",
      "The same word at another place is another vector, and the bag of words is gone.",
    ],
    formula: "input = word vector + position vector",
    quote: "“Final Input = Word Embedding + Positional Embedding”",
    claims: ["input-is-a-sum"],
    room: "inside", label: "See the sum", needs: (studio) => first(studio, "learned", "sinusoidal"), trains: "learned",
    values: (studio) => ({ run: first(studio, "learned", "sinusoidal").name, text: "the list of the names" }),
    todo: "Under “1 Tokens” choose the first “the”, then the second, and compare the strips under “2 Input”.",
    see: "The word's strip is the same both times, the position's strip is not, and so their sum is not.",
  },
  {
    title: "Can it learn order by itself?",
    text: [
      "In part. A model that writes text may only look back: the first word sees itself, the third sees three words. So after one layer a word has seen what came before it, and in the second layer that tells order, without any embedding.",
      "It is an indirect hint that every layer has to work for. With an embedding the order is there from the first layer on.",
    ],
    quote: "“Positional embeddings serve as a helpful shortcut.”",
    claims: ["none-learns-slower"],
    room: "order", label: "Watch order leak in", values: () => ({ causal: "1", show: "none,rotary", runs: "0" }),
    todo: "Compare “none” and “rotary”, now in models that attend backwards only.",
    see: "“none” is at exactly 0 in layer 1, and above it from layer 2 on: the leak. “rotary” is above 0 from layer 1.",
  },
  {
    title: "Sinusoidal",
    text: [
      "How to write a position as numbers? Like a clock: a fast hand tells near moments apart, a slow hand far ones. Each pair of numbers of a sinusoidal vector is the sine and cosine of one hand. The fastest makes a full turn in about 6 positions, the slowest in more than 50,000.",
      "Nothing is learned, and there is a vector for every position, however far. That a model can use those it never saw in training does not follow.",
    ],
    quote: "“They allow the model to generalize to longer sequences it hasn't seen before.”",
    claims: ["sinusoids-unique", "sinusoidal-generalises"],
    room: "embedding", label: "Look at the table", values: () => ({ position: "sinusoidal" }),
    todo: "Each row of the heat map is the vector of one position. Go down row by row; then type 100 as the base.",
    see: "On the left stripes that change with every row, on the right columns that hardly change: fast hands and slow ones. A smaller base makes the slow ones faster.",
  },
  {
    title: "Learned",
    text: [
      "Or let training find the vectors: a table with a row for each position, learned like the word vectors.",
      "The table ends where training did. A model trained on 128 tokens has rows 0 to 127, and no vector for position 128.",
    ],
    quote: "“It means the model may struggle slightly with sequences longer than those it saw.”",
    claims: ["learned-ends"],
    room: "embedding", label: "Look at what was learned", needs: (studio) => first(studio, "learned"), trains: "learned",
    values: (studio) => ({ position: "learned", run: first(studio, "learned").name }),
    todo: "Compare the table before training with the one in the trained run.",
    see: "Before training noise. Afterwards, in a model that was trained long enough, rows that are neighbours look alike: it has found out by itself that positions lie on a line.",
  },
  {
    title: "Rotary",
    text: [
      "Attention decides from which words a word takes information. For that every word has a query, what it looks for, and a key, what it offers. The better a query fits a key, the higher its score and the more is taken over.",
      "Rotary adds nothing to the input. In every layer it turns queries and keys: it takes their numbers in pairs, and each pair is the hand of a dial. The word at position p turns a hand p times by a fixed angle, wide for the first pair, tiny for the last.",
      "Only the angle between the hand of the query and that of the key counts. Move both words on by five places, and both hands turn as much: the angle stays. So a score knows how far apart two words are, and not where they stand. This is so by construction; that it helps across languages, as the article also says, had to be measured.",
    ],
    formula: "score(query at m, key at n) depends on m − n",
    quote: "“These embed positional information directly into the attention mechanism”, and address “cross-lingual understanding”.",
    claims: ["rotary-cross-lingual"],
    room: "embedding", label: "Turn the dials", values: () => ({ position: "rotary", at: "10" }),
    todo: "Go to “Each pair as a dial”, move the slider “Position of the token”, and watch the hands.",
    see: "The first hands race, the last hardly move. Filled dials come round within the trained length, so training has shown them every angle; on the others it showed the thick arc alone.",
  },
  {
    title: "Long context",
    text: [
      "What if a text is longer than all training texts? Learned positions have no vector. Sinusoidal and rotary have one, at angles that the slow dials never reached in training.",
      "So rotary models are made longer on purpose: by slowing the dials (interpolation), slowing only the slow ones (NTK, YaRN), and a little more training.",
    ],
    quote: "RoPE is “particularly suitable for long-context scenarios”.",
    claims: ["rotary-suits-long"],
    room: "length", label: "Read past the trained length", needs: writer, values: () => ({}),
    todo: "Follow the curves past the dashed line. Then switch methods on and off, and choose a point to read the text there.",
    see: "Whether a curve rises, stays or ends past the dashed line. A method should keep it down there, and not lift it on the left.",
  },
  {
    title: "What does not hold",
    text: [
      "The article is right that order has to come from somewhere, and why. Some of what it says about single embeddings was measured here and is not so, and some cannot be told with models this small.",
      "The list shows every claim with its verdict. None is a matter of opinion: each has a criterion that was written down before it was measured, and a command that measures it again.",
    ],
    claims: ["bag-of-words", "recurrent-order", "sinusoids-unique", "king-and-queen", "input-is-a-sum", "none-learns-slower", "sinusoidal-generalises", "learned-ends", "rotary-suits-long", "rotary-cross-lingual", "parallel-is-fast"],
    room: "compare", label: "Measure one yourself", values: () => ({ positions: "none,rotary", seeds: "2", minutes: "1" }),
    todo: "Measure “Without positions a model learns more slowly”: press Start, and come back in about five minutes.",
    see: "The loss of “none” lies above that of “rotary”. The table has the difference with its interval: if that reaches across 0, a minute was too short to tell.",
    questions: [
      ["Why does order matter to a transformer?", "Attention compares words in pairs and does not know which came first. Without positions a model that attends both ways treats a sentence as a bag of words, so that who bites whom is lost."],
      ["What does rotary do?", "In every layer it turns each pair of numbers of a query and a key by an angle that grows with the position. Their score then depends on the distance between the two words and not on where they stand."],
      ["Why can a rotary model fail on long texts, though it knows distances alone?", "Its slow dials reach angles that training never showed, and attention spreads over more words than it ever did."],
    ],
  },
];

/** What to do in a step: text, what one will see, and a link to a room with this studio's runs. */
export function task(studio, number) {
  const { room, label, values, needs, trains, todo, see } = STEPS[number - 1];
  const to = (name, settings = {}) => ({ room: name, href: link(name, new URLSearchParams({ ...settings, lesson: number })) });
  if (!needs || needs(studio)) return { text: todo, see, label, ...to(room, values(studio)) };
  if (trains) {
    return {
      text: `This step needs a model with ${trains} positions, and none is open. Train one: choose Start, and watch its table change. In about a minute this step goes on with it.`,
      see: "The loss falls, the text gets nearer to English, and the table of positions changes.", label: "Train one", ...to("build", { position: trains, minutes: "1" }),
    };
  }
  const text = studio.runs.length ? "This step needs a model that writes text, and none is open: the button leads to a room that trains one." : "This step needs a trained model. The room has a button that trains one in about 40 s.";
  return { text, see, label, ...(studio.runs.length ? to("build") : to(room)) };
}
