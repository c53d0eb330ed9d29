import js from '@eslint/js';
import globals from 'globals';

const rules = {
  ...js.configs.recommended.rules,
  curly: ['error', 'multi-line'],
  eqeqeq: 'error',
  'no-implicit-globals': 'error',
  'no-var': 'error',
  'prefer-const': 'error',
};

export default [
  {
    files: ['beit3_colab/look/assets/*.js'],
    languageOptions: { ecmaVersion: 2020, sourceType: 'script', globals: globals.browser },
    rules: { ...rules, strict: 'off' },
  },
  {
    // what the pages of a report and of a comparison are made of: the second script stands below the first
    files: ['beit3_colab/look/assets/{cards,report,comparison_page}.js'],
    rules: { 'no-implicit-globals': 'off', 'no-unused-vars': ['error', { vars: 'local' }] },
  },
  {
    files: ['beit3_colab/look/assets/{report,comparison_page}.js'],
    languageOptions: { globals: { at: 'readonly', value: 'readonly', filterCards: 'readonly' } },
  },
  {
    files: ['tests/front_end/*.js'],
    languageOptions: { ecmaVersion: 2022, sourceType: 'module', globals: globals.nodeBuiltin },
    rules,
  },
];
