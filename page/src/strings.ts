// Every word that the page says, by screen. `{...}` are functions, so that other languages may order them otherwise.
const plural = (count: number, singular: string, many = `${singular}s`) => `${count.toLocaleString("en")} ${count === 1 ? singular : many}`;

export const count = {
  pictures: (number: number) => plural(number, "picture"),
  labels: (number: number) => plural(number, "label"),
  files: (number: number) => plural(number, "file"),
};

export const say = {
  app: {
    name: "vision",
    title: (screen: string) => `${screen} · llamafarm vision`,
    skip: "Skip to content",
    navigation: "Screens",
    more: "More",
    close: "Close",
    cancel: "Cancel",
    save: "Save",
    remove: "Remove",
    undo: "Undo",
    again: "Try again",
    loading: "Loading",
    retryIn: (seconds: number) => `Asking again in ${seconds} s.`,
    unreachable: "The service does not answer. This page asks again by itself.",
    missing: "There is no such screen.",
    copy: "Copy",
    copied: "Copied",
    requestId: "Request",
  },
  problem: {
    noAnswer: "The service did not answer.",
    status: (status: number) => `The service answered with status ${status}.`,
    offline: "Look whether it runs and whether this device is connected, then try again.",
    key: "Enter a key that works in Settings.",
    scope: "Ask whoever gave you the key for one that allows it.",
    conflict: "Look at what is there now, then try again.",
    busy: "It was busy twice. Try again in a moment.",
    fault: "If it happens again, tell whoever runs the service the request's id.",
  },
  call: {
    show: "Show the call",
    title: "The last call as a command",
    none: "Do something first: the call that did it appears here.",
    keyLeftOut: "Your key is left out: put it into VISION_KEY.",
  },
  keys: {
    title: "Keyboard",
    list: "List the keys",
    search: "Search",
    close: "Close what is open",
    to: (screen: string) => `Go to ${screen}`,
    arrows: "Move in a grid of pictures",
  },
  lock: {
    title: "A key, please",
    lead: "This service only answers with a key. Whoever runs it makes one with `vision keys create`.",
    label: "API key",
    remember: "Remember on this device",
    rememberHint: "Otherwise it is forgotten when this tab closes.",
    enter: "Come in",
    refused: "This key does not work: it may be mistyped, expired or revoked.",
  },
  ways: {
    drop: "Drop pictures or folders here",
    choose: "Choose pictures",
    chooseFolder: "Choose a folder",
    paste: "or paste one",
    camera: "Camera",
    takePhoto: "Take a photo",
    insecureCamera: "Live pictures from the camera need HTTPS or localhost. This takes a photo instead.",
    noCamera: "No camera answered. Look whether this page may use it, in the address bar, and whether another program does.",
    startCamera: "Start the camera",
    stopCamera: "Stop the camera",
    notPictures: (number: number) => `${count.files(number)} left out: not a picture.`,
  },
  scores: {
    none: "none of these",
    percent: (share: number) => `${share > 0 && share < 0.01 ? "< 1" : share < 1 && share > 0.99 ? "> 99" : Math.round(share * 100)} %`,
    list: "Scores",
  },
  grid: {
    position: (at: number, of: number) => `${at} of ${of}`,
    selected: (number: number) => `${number} selected`,
  },
  chart: {
    table: "Show as a table",
    smooth: "Smoothing",
    log: "Log axis",
  },
  collection: {
    label: "Collection",
    create: "New collection …",
    name: "Name",
    nameHint: "Lower-case letters, digits, - and _.",
    make: "Make it",
  },

  teach: {
    title: "Teach",
  },

  try: {
    title: "Try",
  },

  ask: {
    title: "Ask",
    picture: "Picture",
    answers: "Questions and answers",
    drop: "Drop a picture to ask about",
    other: "Another picture",
    pictureAlt: (name: string) => `The picture in view: ${name}`,
    pictureFirst: "A picture first.",
    question: "Your question",
    example: "What is in the picture?",
    toQuestion: "Write a question",
    model: "Model",
    knows: (model: string, knows: string) => `${model} knows only ${knows}. About other pictures it guesses.`,
    useTaught: (answers: number, collection: string) => `Show it the nearest of ${plural(answers, "answer")} taught in ${collection}`,
    ask: "Ask",
    stop: "Stop",
    again: "Ask again",
    caption: "Describe it",
    captionOf: "Description",
    stopped: "Stopped.",
    cut: "Cut off: the answer reached its longest length.",
    shownToIt: "Taught answers that were shown to it",
    taughtAnswer: (question: string, answer: string) => `${question} ${answer}`,
    answeredBy: (model: string, ms: number) => `${model}, ${(ms / 1000).toLocaleString("en", { maximumFractionDigits: 1 })} s`,
    correct: "Correct this answer",
    rightAnswer: "The right answer",
    teach: (collection: string) => `Teach it to ${collection}`,
    corrected: (answer: string) => `Taught: ${answer}`,
  },

  review: {
    title: "Review",
  },

  jobs: {
    title: "Train",
  },

  models: {
    title: "Models",
  },

  datasets: {
    title: "Data sets",
  },

  settings: {
    title: "Settings",
  },
};
