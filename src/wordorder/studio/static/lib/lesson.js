// The steps of the lesson. `task` is also shown above the room that a step leads to.

import { transformers } from "./runs.js";
import { link } from "./state.js";

const first = (studio, ...positions) => positions.map((name) => transformers(studio).find((run) => run.position.split(":", 1)[0] === name)).find(Boolean);
const anyRun = (studio) => transformers(studio)[0];
const writer = (studio) => studio.runs.find((run) => run.causal && run.predicts_next);

/** Each step: title, text, quote (a few words of the article), claims, and what to do: room, values, label, text, see. */
export const STEPS = [
  {
    title: "Why order",
    text: [
      "“Dog bites man” and “man bites dog” are the same words. Which is news depends on their order alone.",
      "A transformer reads all words at once. Its attention compares the vector of every word with that of every other word, and nothing in this comparison tells which word came first. If nothing else tells it either, the model gets a bag of words: “I love AI” and “AI love I” are one and the same to it.",
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
      "Note what is missing: a word has the same vector wherever it stands.",
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
    room: "inside", label: "See the sum", needs: (studio) => first(studio, "learned", "sinusoidal") ?? anyRun(studio),
    values: (studio) => ({ run: (first(studio, "learned", "sinusoidal") ?? anyRun(studio)).name, text: "the list of the names" }),
    todo: "In step 1 of that room choose the first “the”, then the second, and compare the three strips of step 2.",
    see: "The word's strip is the same both times, the position's strip is not. If your run is a rotary or ALiBi model nothing is added here: their turn is in step 7.",
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
      "How to write a position as numbers? Like a clock: a fast hand tells near moments apart, a slow hand far ones. Each pair of numbers of a sinusoidal vector is the sine and cosine of one hand. The fastest is round after 6 positions, the slowest after more than 50,000.",
      "Nothing is learned, and there is a vector for every position, however far. That a model can use those it never saw in training does not follow.",
    ],
    quote: "“They allow the model to generalize to longer sequences it hasn't seen before.”",
    claims: ["sinusoids-unique", "sinusoidal-generalises"],
    room: "embedding", label: "Look at the table", values: () => ({ position: "sinusoidal" }),
    todo: "Look at the heat map, row by row, and then lower the base.",
    see: "On one side stripes that change with every row, on the other columns that hardly change: fast hands and slow ones. A smaller base makes the slow ones faster.",
  },
  {
    title: "Learned",
    text: [
      "Or let training find the vectors: a table with a row for each position, learned like the word vectors.",
      "The table ends where training did. A model trained on 128 tokens has rows 0 to 127, and no vector for position 128.",
    ],
    quote: "“It means the model may struggle slightly with sequences longer than those it saw.”",
    claims: ["learned-ends"],
    room: "embedding", label: "Look at what was learned",
    values: (studio) => ({ position: "learned", ...(first(studio, "learned") ? { run: first(studio, "learned").name } : {}) }),
    todo: "Compare the table before training with the trained one, if you opened a run with learned positions.",
    see: "Before training noise. Afterwards rows that are neighbours look alike: the model has found out by itself that positions lie on a line.",
  },
  {
    title: "Rotary",
    text: [
      "Attention decides from which words a word takes something over. For that every word has a query, what it looks for, and a key, what it offers. The better a query fits a key, the higher its score and the more is taken over.",
      "Rotary adds nothing to the input. In every layer it turns queries and keys: it takes their numbers in pairs, and each pair is the hand of a dial. The word at position p turns a hand p times by a fixed angle, wide for the first pair, tiny for the last.",
      "Only the angle between the hand of the query and that of the key counts. Move both words on by five places, and both hands turn as much: the angle stays. So a score knows how far apart two words are, and not where they stand.",
    ],
    formula: "score(query at m, key at n) depends on m − n",
    quote: "“These embed positional information directly into the attention mechanism.”",
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
    room: "length", label: "Check one on your model", needs: writer, values: () => ({ factor: "2" }),
    todo: "Check “Rotary suits long contexts” on your own model, at twice its trained length.",
    see: "A rise of more than 0.03 nats at twice the length is what was taken as “does not hold”. Yours may differ: models differ by how long they were trained, and on what.",
    questions: [
      ["Why does order matter to a transformer?", "Attention compares words in pairs and does not know which came first. Without positions a model that attends both ways treats a sentence as a bag of words, so that who bites whom is lost."],
      ["What does rotary do?", "In every layer it turns each pair of numbers of a query and a key by an angle that grows with the position. Their score then depends on the distance between the two words and not on where they stand."],
      ["Why can a rotary model fail on long texts, though it knows distances alone?", "Its slow dials reach angles that training never showed, and attention spreads over more words than it ever did."],
    ],
  },
];

/** What to do in a step: text, and a link with this studio's runs. */
export function task(studio, number) {
  const { room, label, values, needs, todo: text, see } = STEPS[number - 1];
  if (needs && !needs(studio)) {
    // The room that has no run offers to train one.
    const other = { text: "This step needs another kind of model than the open runs: train one in the room Build.", label: "To Build", href: link("build") };
    const first = { text: "This step needs a trained model. The room has a button that trains one in about 40 s.", label, href: link(room, new URLSearchParams({ lesson: number })) };
    return { see, ...(studio.runs.length ? other : first) };
  }
  return { text, see, label, href: link(room, new URLSearchParams({ ...values(studio), lesson: number })) };
}
